/** The package in Chromium: the same faces as Python's, in a page and in a worker, and nothing from elsewhere. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { serve } from '../scripts/server.js';
import { expected, type ExpectedFace, FOLDER } from './expected.js';

const ROOT = join(import.meta.dirname, '..');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
];
const SLOW = 120_000; // ms
const SAMPLE = '/weights/sample.jpg';

type Server = Awaited<ReturnType<typeof serve>>;

let browser: Browser;
const servers: Server[] = [];

/** A page with the package, whose errors, and requests to other origins, are noted. */
async function open(isolated: boolean, path = '/test/page.html'): Promise<{ page: Page; faults: string[] }> {
  const folders: Record<string, string> = {
    '/dist/': join(ROOT, 'dist'),
    '/test/': join(ROOT, 'test'),
    '/demo/': join(ROOT, 'demo'),
    '/facekd/': join(ROOT, 'dist'), // what the guide calls it
    '/tiny/': join(ROOT, '..', 'tests', 'weights'),
    '/weights/': join(ROOT, '..', 'src', 'facekd', 'weights'),
  };
  if (FOLDER) folders['/expected/'] = FOLDER;
  const server = await serve({ folders, isolated });
  servers.push(server);
  const context = await browser.newContext(); // sees the requests of workers, too
  const faults: string[] = [];
  context.on('request', (request) => {
    if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(`${server.url}/`)) faults.push(request.url());
  });
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (line) => {
    // Browsers write a line of their own about each answer that is an error.
    const expected = line.text().startsWith('Failed to load resource');
    if ((line.type() === 'error' || line.type() === 'warning') && !expected) faults.push(line.text());
  });
  await page.goto(`${server.url}${path}`);
  if (path.startsWith('/test/')) await page.waitForFunction(() => 'facekd' in globalThis);
  return { page, faults };
}

function distance(found: readonly number[][], wanted: readonly number[][]): number {
  expect(found.length).toBe(wanted.length);
  return Math.max(...found.map(([x, y], index) => Math.hypot(x - wanted[index][0], y - wanted[index][1])));
}

/** Check faces against Python's; returns the largest distance of two points. */
function compare(found: ExpectedFace[], wanted: ExpectedFace[], file: string): number {
  expect(found.length, file).toBe(wanted.length);
  let most = 0;
  for (const face of wanted) { // faces of nearly one score may have changed places
    const near = found.reduce((a, b) => (distance(b.points, face.points) < distance(a.points, face.points) ? b : a));
    most = Math.max(most, distance(near.points, face.points));
    expect(near.score, file).toBeCloseTo(face.score, 2);
    expect(Math.abs(near.faceConfidence - face.faceConfidence), file).toBeLessThan(0.1);
    near.confidence.forEach((value, index) => expect(Math.abs(value - face.confidence[index]), file).toBeLessThan(0.1));
    for (const axis of ['yaw', 'pitch', 'roll'] as const) expect(Math.abs(near.pose[axis] - face.pose[axis])).toBeLessThan(2);
    expect(near.mouthOpenness).toBeCloseTo(face.mouthOpenness, 1);
    expect(near.eyeOpenness.left).toBeCloseTo(face.eyeOpenness.left, 1);
  }
  return most;
}

describe.skipIf(!existsSync(CHROMIUM))(`in Chromium (needs ${CHROMIUM})`, () => {
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  }, SLOW);

  afterAll(async () => {
    await browser?.close();
    for (const server of servers) server.close();
  });

  it('finds the six faces of the sample, in a page without threads', { timeout: SLOW }, async () => {
    const { page, faults } = await open(false);
    const found = await page.evaluate(async (url) => {
      const { Landmarker, InputError, ModelError } = (globalThis as any).facekd;
      const [landmarker, another] = await Promise.all([Landmarker.create(), Landmarker.create({ yunet: { size: 640 } })]);
      another.delete();
      const image = new Image();
      image.src = url;
      await image.decode();
      const faces = await landmarker.detect(image);
      const largest = await landmarker.detect(image, { maxFaces: 2 });
      const refusals = await Promise.all([
        landmarker.detect(new Image()),
        landmarker.detect(image, { boxes: [[3, 3, 1, 9]] }),
        landmarker.detect(image, { boxes: [[3, 3, 9, 9]], roll: [0, 90] }),
        landmarker.detect(image, { maxFaces: 0 }),
        landmarker.detect(document.querySelector('.none')),
        landmarker.detect(document.createElement('div')),
        Landmarker.create({ yunet: { size: 0 } }),
        Landmarker.create({ yunet: { threshold: NaN } }),
        another.detect(image),
        another.detectBoxes(image),
        Landmarker.create({ detector: null }),
        Landmarker.create({ minConfidence: 2 }),
        Landmarker.create({ detector: new Uint8Array(100) }),
        Landmarker.create({ detector: '/dist/models/facekd-68-lite.tflite' }),
        Landmarker.create({ model: '/nowhere.tflite' }),
        Landmarker.create({ model: new Uint8Array(100) }),
      ].map((promise) => promise.then(() => 'none', (error: Error) => {
        return error instanceof InputError ? 'input' : error instanceof ModelError ? 'model' : String(error);
      })));
      const ok = faces.map((face: any) => face.ok);
      return { threads: landmarker.threads, name: landmarker.card.name, ok, largest: largest.length, refusals };
    }, SAMPLE);
    expect(found).toEqual({
      threads: 1,
      name: 'facekd-68-lite-int8',
      ok: [true, true, true, true, true, true],
      largest: 2,
      refusals: [
        'input', 'input', 'input', 'input', 'input', 'input', 'input', 'input', 'model', 'model', 'model', 'input', 'model',
        'model', 'model', 'model',
      ],
    });
    expect(faults).toEqual([]);
    await page.close();
  });

  it('finds the same in a module worker, with threads and without', { timeout: SLOW }, async () => {
    const results: { threads: number; isolated: boolean; faces: number[][][] }[] = [];
    for (const isolated of [false, true]) {
      const { page, faults } = await open(isolated);
      results.push(await page.evaluate((photo) => new Promise((resolve, reject) => {
        const worker = new Worker('/test/worker.js', { type: 'module' });
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
        worker.postMessage({ photo: `${location.origin}${photo}`, threads: 2 });
      }), SAMPLE));
      expect(faults).toEqual([]);
      await page.close();
    }
    const [alone, several] = results;
    expect([alone.threads, alone.isolated, several.threads, several.isolated]).toEqual([1, false, 2, true]);
    expect(alone.faces.length).toBe(6);
    alone.faces.forEach((face, index) => expect(distance(several.faces[index], face)).toBeLessThan(0.05));
  });

  it('works where a browser lacks relaxed SIMD', { timeout: SLOW }, async () => {
    const { page, faults } = await open(true);
    const loaded: string[] = [];
    page.on('request', (request) => loaded.push(request.url().split('/').at(-1)!));
    const found = await page.evaluate(async (photo) => {
      const { instantiate } = WebAssembly;
      // The little module that tells whether there is relaxed SIMD cannot be compiled there.
      (WebAssembly as any).instantiate = (code: BufferSource, imports: WebAssembly.Imports) => {
        return code.byteLength < 1000 ? Promise.reject(new Error('no such instruction')) : instantiate(code, imports);
      };
      const landmarker = await (globalThis as any).facekd.Landmarker.create({ threads: 2 });
      const image = await createImageBitmap(await (await fetch(photo)).blob());
      return { threads: landmarker.threads, faces: (await landmarker.detect(image)).length };
    }, SAMPLE);
    expect(found).toEqual({ threads: 1, faces: 6 });
    expect(loaded).toContain('litert_wasm_compat_internal.wasm');
    expect(faults).toEqual([]);
    await page.close();
  });

  it('refuses an image of another origin, and goes on', { timeout: SLOW }, async () => {
    const { page } = await open(false);
    const elsewhere = await serve({ folders: { '/weights/': join(ROOT, '..', 'src', 'facekd', 'weights') }, isolated: false });
    servers.push(elsewhere);
    const found = await page.evaluate(async (urls) => {
      const landmarker = await (globalThis as any).facekd.Landmarker.create();
      const answers = [];
      for (const src of urls) {
        const image = Object.assign(new Image(), { src });
        await image.decode();
        answers.push(await landmarker.detect(image).then((faces: any) => faces.length, (error: Error) => error.message));
      }
      return answers;
    }, [`${elsewhere.url}${SAMPLE}`, SAMPLE]);
    expect(found).toEqual(['the image is of another origin; serve it from the page\'s own, or with CORS headers', 6]);
    const large = await page.evaluate(async () => {
      const landmarker = await (globalThis as any).facekd.Landmarker.create();
      return landmarker.detect(new OffscreenCanvas(40000, 40000)).catch((error: Error) => error.message);
    });
    expect(large).toBe('an image of 40000 x 40000 pixels cannot be read; give a smaller one');
    await page.close();
  });

  it("runs the guide's example", { timeout: SLOW }, async () => {
    const guide = readFileSync(join(ROOT, '..', 'docs', 'how-to', 'browser.md'), 'utf8');
    const [example, video] = [...guide.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code);
    const { page, faults } = await open(false);
    const lines: string[] = [];
    page.on('console', (line) => lines.push(line.text()));
    const show = async (body: string, script: string): Promise<void> => {
      await page.route('**/example.html', (route) => route.fulfill({
        contentType: 'text/html',
        body: `<!doctype html><link rel="icon" href="data:," />${body}<script type="module">${script}</script>`,
      }));
      await page.goto(new URL('/example.html', page.url()).href);
    };
    await show(`<img src="${SAMPLE}" alt="" />`, example);
    await expect.poll(() => lines.length, { timeout: SLOW / 4 }).toBe(12); // two for each of six faces
    expect(lines[0]).toMatch(/^face at \d+,\d+,\d+,\d+, score 0\.\d\d, sure by [01]\.\d\d$/);
    expect(lines[1]).toMatch(/^nose at \d+\.\d, \d+\.\d, sure by [01]\.\d\d; yaw -?\d+$/);
    // The sample as a video: a canvas that is drawn again and again.
    const film = `const picture = Object.assign(new Image(), { src: '${SAMPLE}' });
      await picture.decode();
      const canvas = Object.assign(document.createElement('canvas'), { width: 480, height: 320 });
      setInterval(() => canvas.getContext('2d').drawImage(picture, 0, 0, 480, 320), 50);
      const element = document.querySelector('video');
      element.srcObject = canvas.captureStream(20);`;
    await page.unroute('**/example.html');
    await show('<video muted></video>', `${film}${video.replaceAll(/^import.*/gm, '')}`
      .replace(/^/, (video.match(/^import.*/m) ?? [''])[0]));
    await expect.poll(() => lines.length, { timeout: SLOW / 4 }).toBeGreaterThan(12 + 12); // six faces, two frames
    expect(lines.slice(12).every((line) => /^\d+ /.test(line))).toBe(true);
    expect(faults).toEqual([]);
    await page.close();
  });

  it('shows the faces of a photo, and follows the camera, in the demo', { timeout: SLOW }, async () => {
    const { page, faults } = await open(true, '/demo/');
    await page.getByText(/^Ready, with \d/).waitFor();
    await page.setInputFiles('#photo', join(ROOT, '..', 'src', 'facekd', 'weights', 'sample.jpg'));
    await page.getByText('6 faces in sample.jpg').waitFor();
    expect(await page.locator('#faces tbody tr').count()).toBe(6);
    const remember = (): Promise<number> => page.evaluate(() => {
      const view = document.querySelector('canvas')!;
      const copy = new OffscreenCanvas(view.width, view.height).getContext('2d', { willReadFrequently: true })!;
      copy.drawImage(view, 0, 0);
      const scope = globalThis as any;
      const [before, now] = [scope.before, copy.getImageData(0, 0, view.width, view.height).data];
      scope.before = now;
      return now.reduce((sum, value, index) => sum + (before && value !== before[index] ? 1 : 0), 0) / now.length;
    });
    await remember();
    await page.uncheck('#contours');
    await page.uncheck('#points');
    const changed = await remember();
    expect(changed).toBeGreaterThan(0.002); // landmarks are drawn, but not everywhere
    expect(changed).toBeLessThan(0.2);
    await page.setViewportSize({ width: 360, height: 640 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    await page.getByRole('button', { name: 'Start the camera' }).click();
    await page.getByText(/frames\/s/).waitFor();
    await page.getByText('0 faces in view').waitFor(); // Chromium's fake camera shows a ball
    await page.getByRole('button', { name: 'Stop the camera' }).click();
    expect(faults).toEqual([]);
    await page.close();
  });

  describe.skipIf(!FOLDER)('as Python (needs FACEKD_EXPECTED of the Python tests)', () => {
    it('finds faces', { timeout: 4 * SLOW }, async () => {
      const { page, faults } = await open(true);
      const worst = { given: 0, found: 0, enhanced: 0 };
      for (const { file, faces, boxes, given, enhanced } of expected().photos) {
        const found = await page.evaluate(async ([url, boxes]) => {
          const scope = globalThis as any;
          scope.landmarker ??= await scope.facekd.Landmarker.create({ threads: 1 });
          const image = await createImageBitmap(await (await fetch(url)).blob());
          const plain = (face: any) => ({
            ...face, pose: face.pose, eyeOpenness: face.eyeOpenness, mouthOpenness: face.mouthOpenness, markup: face.markup.name,
          });
          const detect = async (options: object) => (await scope.landmarker.detect(image, options)).map(plain);
          const [face] = await scope.landmarker.detect(image);
          const found = await scope.landmarker.detectBoxes(image);
          return { keys: Object.keys(face.toJSON()), faces: await detect({}), given: await detect({ boxes }), boxes: found };
        }, [`/expected/${file}`, boxes] as const);
        expect(found.keys).toEqual(expected().keys);
        expect(found.boxes.length, file).toBe(boxes.length);
        const kind = enhanced ? 'enhanced' : 'given';
        worst[kind] = Math.max(worst[kind], compare(found.given, given, file));
        worst.found = Math.max(worst.found, compare(found.faces, faces, file));
      }
      console.log(JSON.stringify({ photos: expected().photos.length, most_pixels_off: worst }));
      expect(worst.given).toBeLessThan(0.5);
      expect(worst.enhanced).toBeLessThan(1); // sharpening makes five of a level that the crops differ by
      expect(worst.found).toBeLessThan(1);
      expect(faults).toEqual([]);
      await page.close();
    });

    it('runs float networks, of one face or four at a time, with confidence and without', { timeout: SLOW }, async () => {
      const { page, faults } = await open(false);
      for (const { file, boxes, faces } of expected().networks) {
        const found = await page.evaluate(async ([model, boxes]) => {
          const landmarker = await (globalThis as any).facekd.Landmarker.create({ model });
          const image = await createImageBitmap(await (await fetch('/weights/sample.jpg')).blob());
          return landmarker.detect(image, { boxes, boxType: 'landmarks' });
        }, [`/tiny/${file}`, boxes] as const);
        faces.forEach(({ points, confidence }, index) => {
          // Browsers decode JPEG files with arithmetic of their own.
          expect(distance(found[index].points, points), file).toBeLessThan(0.2);
          expect(found[index].confidence?.length, file).toBe(confidence?.length);
          confidence?.forEach((value, point) => expect(found[index].confidence[point], file).toBeCloseTo(value, 2));
        });
      }
      expect(faults).toEqual([]);
      await page.close();
    });

    it('follows faces', { timeout: SLOW }, async () => {
      const { page, faults } = await open(false);
      const { frames } = expected();
      const found = await page.evaluate(async (frames) => {
        const { Landmarker, Tracker } = (globalThis as any).facekd;
        const tracker = new Tracker(await Landmarker.create());
        const all = [];
        for (const { file, time } of frames) {
          const frame = await createImageBitmap(await (await fetch(`/expected/${file}`)).blob());
          const tracked = await tracker.update(frame, time);
          all.push(tracked.map(({ id, face, raw }: any) => ({ id, points: face.points, raw })));
        }
        return all;
      }, frames);
      frames.forEach(({ tracked }, index) => {
        expect(found[index].map(({ id }: { id: number }) => id), `frame ${index}`).toEqual(tracked.map(({ id }) => id));
        tracked.forEach((face, place) => {
          // A third of a pixel in the box of a crop moves points by up to 1.5 pixels, and each crop is where the last points were.
          expect(distance(found[index][place].points, face.points), `frame ${index}`).toBeLessThan(2.5);
          expect(distance(found[index][place].raw, face.raw), `frame ${index}`).toBeLessThan(2.5);
        });
      });
      expect(faults).toEqual([]);
      await page.close();
    });
  });
});
