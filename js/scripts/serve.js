/** Serve the demo: `npm run demo`, or `node scripts/serve.js PORT`. */

import { join } from 'node:path';
import { serve } from './server.js';

const ROOT = join(import.meta.dirname, '..');
const folders = { '/demo/': join(ROOT, 'demo'), '/dist/': join(ROOT, 'dist') };
const { url } = await serve({ folders, port: Number(process.argv[2] ?? 8080) });
console.log(`the demo is at ${url}/demo/ ; Ctrl+C ends it`);
