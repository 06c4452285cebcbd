/** Make `dist/`, which holds all that a page needs, and print what of it a page downloads, in bytes after gzip, as JSON. */

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { downloads } from './downloads.js';

const ROOT = join(import.meta.dirname, '..');
const WEIGHTS = join(ROOT, '..', 'src', 'facekd', 'weights');
const LITERT = join(ROOT, 'node_modules', '@litertjs', 'core', 'wasm');
const DIST = join(ROOT, 'dist');
// What a page downloads of LiteRT is one of these: without threads, with them, or where a browser lacks relaxed SIMD.
const KINDS = ['', 'threaded_', 'compat_'];
const MODELS = { 'facekd-68-lite.tflite': WEIGHTS, 'yunet.tflite': join(ROOT, 'models') };

rmSync(DIST, { recursive: true, force: true });
for (const folder of ['', 'litert', 'models']) mkdirSync(join(DIST, folder));
await build({
  entryPoints: [join(ROOT, 'src', 'index.ts')],
  outfile: join(DIST, 'index.js'),
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  sourcemap: true,
});
execFileSync(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', join(ROOT, 'tsconfig.build.json')], {
  stdio: 'inherit',
});
for (const kind of KINDS) {
  const name = `litert_wasm_${kind}internal`;
  copyFileSync(join(LITERT, `${name}.wasm`), join(DIST, 'litert', `${name}.wasm`));
  // The script is made for `importScripts`; imported as a module it would keep what it defines to itself.
  const script = readFileSync(join(LITERT, `${name}.js`), 'utf8');
  writeFileSync(join(DIST, 'litert', `${name}.js`), `${script}\nglobalThis.ModuleFactory = ModuleFactory;\n`);
}
for (const [name, folder] of Object.entries(MODELS)) copyFileSync(join(folder, name), join(DIST, 'models', name));
for (const [from, to] of [[join(ROOT, '..', 'LICENSE'), 'LICENSE'], [join(WEIGHTS, 'YUNET_LICENSE.txt'), 'YUNET_LICENSE.txt']]) {
  copyFileSync(from, join(DIST, to));
}

console.log(JSON.stringify(downloads(), null, 1));
