/**
 * Print as JSON what the package costs in Chromium: download, start, and time per photo and frame. Build it first.
 *
 *     node scripts/benchmark.js > ../docs/benchmarks/browser.json
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { downloads } from './downloads.js';
import { serve } from './server.js';

const ROOT = join(import.meta.dirname, '..');
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync'];
const ROUNDS = 40;

/** Runs in the page. */
async function measure({ threads, rounds }) {
  const start = performance.now();
  const { Landmarker, Tracker } = await import('/dist/index.js');
  const landmarker = await Landmarker.create({ threads });
  const loaded = performance.now() - start;
  const sample = await createImageBitmap(await (await fetch('/weights/sample.jpg')).blob());
  const portrait = await createImageBitmap(sample, 0, 0, 320, 320);
  const [{ box }] = await landmarker.detect(portrait);
  const tracker = new Tracker(landmarker);
  let frame = 0;
  const kinds = {
    'one face in a known box': () => landmarker.detect(portrait, { boxes: [box], roll: 0 }),
    'photo of 320 x 320 pixels, one face': () => landmarker.detect(portrait),
    'photo of 960 x 640 pixels, six faces': () => landmarker.detect(sample),
    'frame of a video of 320 x 320 pixels, one face': () => tracker.update(portrait, frame++ / 25),
    'frame of a video of 960 x 640 pixels, six faces': () => tracker.update(sample, frame++ / 25),
  };
  const times = {};
  for (const [name, run] of Object.entries(kinds)) {
    const all = [];
    for (let round = -5; round < rounds; round++) { // the first ones compile
      const began = performance.now();
      await run();
      if (round >= 0) all.push(performance.now() - began);
    }
    all.sort((a, b) => a - b);
    times[name] = { median_ms: Number(all[rounds / 2].toFixed(1)), fastest_ms: Number(all[0].toFixed(1)) };
  }
  return { threads: landmarker.threads, load_ms: Math.round(loaded), times };
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
const runs = [];
for (const threads of [1, 2]) {
  const weights = join(ROOT, '..', 'src', 'facekd', 'weights');
  const folders = { '/dist/': join(ROOT, 'dist'), '/demo/': join(ROOT, 'demo'), '/weights/': weights };
  const server = await serve({ folders, isolated: threads > 1 });
  const page = await browser.newPage();
  await page.goto(`${server.url}/demo/demo.css`); // any file of the origin
  runs.push(await page.evaluate(measure, { threads, rounds: ROUNDS }));
  await page.close();
  server.close();
}
const processor = /model name\s*: (.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
console.log(JSON.stringify({ browser: `Chromium ${browser.version()}`, processor, download: downloads(), runs }, null, 1));
await browser.close();
