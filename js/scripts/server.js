/** A web server for the demo and the tests: files of one folder, to this machine alone. */

import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';

const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

/**
 * Serve files.
 *
 * @param {{ folders: Record<string, string>, port?: number, isolated?: boolean }} options `folders`: by the start of the path,
 *   such as "/dist/"; `port`: 0 for any; `isolated`: make pages cross-origin isolated, so that networks may use threads.
 * @returns {Promise<{ url: string, close: () => void }>}
 */
export async function serve({ folders, port = 0, isolated = true }) {
  const headers = isolated
    ? { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }
    : {};
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, 'http://localhost').pathname)).replaceAll('\\', '/');
    const start = Object.keys(folders).find((prefix) => path.startsWith(prefix));
    const file = start && join(folders[start], path.slice(start.length), path.endsWith('/') ? 'index.html' : '');
    if (!file || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
      response.writeHead(path === '/' ? 302 : 404, path === '/' ? { Location: '/demo/' } : {}).end();
      return;
    }
    const type = TYPES[extname(file)] ?? 'application/octet-stream';
    response.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'no-cache', ...headers });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  return { url: `http://localhost:${server.address().port}`, close: () => server.close() };
}
