/** What a page downloads of `dist/`. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const DIST = join(import.meta.dirname, '..', 'dist');
// Of LiteRT one of three kinds, which hardly differ in size: here the one without threads.
const FILES = [
  'index.js',
  'litert/litert_wasm_internal.js',
  'litert/litert_wasm_internal.wasm',
  'models/facekd-68-lite.tflite',
  'models/yunet.tflite',
];

/**
 * Measure the files as servers send them.
 *
 * @returns {{ gzip_bytes: Record<string, number>, total_bytes: number, total_mb: number }}
 */
export function downloads() {
  const sizes = FILES.map((file) => gzipSync(readFileSync(join(DIST, file)), { level: 9 }).length);
  const total = sizes.reduce((sum, bytes) => sum + bytes);
  const files = Object.fromEntries(FILES.map((file, index) => [file, sizes[index]]));
  return { gzip_bytes: files, total_bytes: total, total_mb: Number((total / 1e6).toFixed(1)) };
}
