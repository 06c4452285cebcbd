import { expect, it } from 'vitest';

import { InputError, ModelError } from '../src/errors.js';
import { Face } from '../src/face.js';
import type { Box, Point } from '../src/geometry.js';
import type { DetectOptions, Landmarker } from '../src/landmarker.js';
import type { MarkUp } from '../src/markup.js';
import type { Pixels } from '../src/pixels.js';
import { Tracker } from '../src/tracking.js';

const CORNERS = { name: 'corners', count: 2 } as MarkUp; // of the face's box
const FRAME: Pixels = { data: new Uint8Array(200 * 200 * 3), width: 200, height: 200, channels: 3 };

/** A landmarker that sees what the test lets it see: `boxes` by the detector, and in a box the face that `look` makes of it. */
class Fake {
  card = { markup: CORNERS };
  boxTransform = { scale: 1, shiftX: 0, shiftY: 0 };
  roll = 'upright';
  boxes: Box[] = [];
  detections = 0;
  given: DetectOptions[] = [];
  look: (box: Box) => { box: Box; sure?: number } = (box) => ({ box });

  async detectBoxes() {
    this.detections++;
    return this.boxes.map((box) => ({ box, score: 0.9 }));
  }

  async detect(_: Pixels, options: DetectOptions) {
    this.given.push(options);
    const { boxes = [] } = options;
    return boxes.map((given) => {
      const { box, sure = 1 } = this.look(given);
      const points: Point[] = [[box[0], box[1]], [box[2], box[3]]];
      return new Face({ box, score: 1, points, confidence: [sure, sure], markup: CORNERS, faceConfidence: null, visible: null });
    });
  }
}

function start(boxes: Box[], boxTransform = new Fake().boxTransform) {
  const fake = Object.assign(new Fake(), { boxes, boxTransform });
  const tracker = new Tracker(fake as unknown as Landmarker, { smoothing: null });
  const next = async (time: number): Promise<Record<number, number[]>> => {
    return Object.fromEntries((await tracker.update(FRAME, time)).map(({ id, face }) => [id, [...face.box]]));
  };
  return { fake, next };
}

it.each([
  [{ every: 0 }, 'every must be 1 or more, got 0'],
  [{ confidence: 30 }, 'confidence must be within 0 and 1, got 30'],
  [{ patience: -1 }, 'patience must be 0 seconds or more, got -1'],
  [{ patience: NaN }, 'patience must be 0 seconds or more, got NaN'],
  [{ smoothing: { cutoff: 0, beta: 30, speedCutoff: 2 } }, 'smoothing needs cutoffs above 0'],
])('settings out of range are refused: %o', (options, why) => {
  expect(() => new Tracker(new Fake() as unknown as Landmarker, options)).toThrow(InputError);
  expect(() => new Tracker(new Fake() as unknown as Landmarker, options)).toThrow(why);
});

it.each([NaN, undefined as unknown as number])('a frame at the time %s is refused, and changes nothing', async (time) => {
  const { fake, next } = start([[0, 0, 100, 100]]);
  await expect(next(time)).rejects.toThrow(`the time of a frame must be a number of seconds, got ${time}`);
  expect(fake.detections).toBe(0);
  expect(Object.keys(await next(0))).toEqual(['0']);
});

it('networks whose points do not give the box of the next frame are refused', () => {
  const fake = Object.assign(new Fake(), { card: { markup: { ...CORNERS, crop: 'face' } } });
  expect(() => new Tracker(fake as unknown as Landmarker)).toThrow(ModelError);
  expect(() => new Tracker(fake as unknown as Landmarker)).toThrow(/^a network of 'corners' cannot follow faces.*crop: face/);
});

it('networks whose transform of detected boxes is not known are refused', () => {
  const unknown = {
    get boxTransform() {
      throw new ModelError('not known');
    },
  };
  const fake = Object.create(new Fake(), Object.getOwnPropertyDescriptors(unknown));
  expect(() => new Tracker(fake as Landmarker)).toThrow('not known');
});

it('a face is followed without the detector, which runs every ten frames', async () => {
  const { fake, next } = start([[0, 0, 100, 100]]);
  fake.look = ([x0, y0, x1, y1]) => ({ box: [x0 + 1, y0, x1 + 1, y1] });
  for (let frame = 0; frame < 10; frame++) expect(await next(frame / 25)).toEqual({ 0: [frame + 1, 0, frame + 101, 100] });
  expect(fake.detections).toBe(1);
  fake.boxes = [];
  await next(0.4);
  expect(fake.detections).toBe(2);
});

it("a detector's boxes are given as such, those of the last frame's landmarks as landmarks'", async () => {
  const [older, newer]: Box[] = [[25, 25, 75, 75], [125, 125, 175, 175]];
  const { fake, next } = start([older], { scale: 2, shiftX: 0, shiftY: 0 });
  const twice = ([x0, y0, x1, y1]: Box): Box => [x0 - 25, y0 - 25, x1 + 25, y1 + 25];
  fake.look = (box) => ({ box: box[2] - box[0] === 50 ? twice(box) : box });
  await next(0);
  expect(fake.given).toEqual([{ boxes: [older], boxType: 'detector', roll: [0] }]);
  fake.boxes = [newer, older];
  for (let frame = 1; frame <= 10; frame++) await next(frame / 25);
  expect(fake.given.at(-2)).toEqual({ boxes: [twice(older)], boxType: 'landmarks', roll: [0] });
  expect(fake.given.at(-1)).toEqual({ boxes: [newer], boxType: 'detector', roll: [0] }); // of the face that is new
});

it('a track that runs onto the face of an older one ends', async () => {
  const [left, right]: Box[] = [[0, 0, 100, 100], [60, 0, 160, 100]];
  const { fake, next } = start([left, right]);
  expect(Object.keys(await next(0))).toEqual(['0', '1']);
  fake.boxes = [left];
  fake.look = (box) => ({ box: box[0] === 60 ? [30, 0, 130, 100] : box }); // IoU 0.54 with both
  expect(await next(0.04)).toEqual({ 0: [...left] });
});

it('a face that is lost is looked for where the detector finds it, and keeps its number', async () => {
  const { fake, next } = start([[0, 0, 100, 100]]);
  await next(0);
  fake.boxes = [[40, 0, 140, 100]]; // IoU 0.43
  fake.look = (box) => ({ box, sure: box[0] === 40 ? 1 : 0.1 });
  expect(await next(0.04)).toEqual({ 0: [40, 0, 140, 100] });
});

it('a face that comes back after the patience gets a new number', async () => {
  const { fake, next } = start([[0, 0, 100, 100]]);
  await next(0);
  fake.look = (box) => ({ box, sure: 0.1 });
  fake.boxes = [];
  expect(await next(0.5)).toEqual({});
  fake.look = (box) => ({ box });
  fake.boxes = [[0, 0, 100, 100]];
  expect(Object.keys(await next(1.4))).toEqual(['1']);
});

it('landmarks that the detector does not confirm three times are no face', async () => {
  const { fake, next } = start([[0, 0, 100, 100]]);
  await next(0);
  fake.boxes = [];
  let frame = 1;
  while (Object.keys(await next(frame / 25)).length) frame++;
  expect([fake.detections, frame]).toEqual([4, 30]);
});
