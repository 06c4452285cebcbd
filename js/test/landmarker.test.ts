import { expect, it } from 'vitest';

import { InputError } from '../src/errors.js';
import type { FaceFinder } from '../src/finder.js';
import { type DetectOptions, Landmarker, type LandmarkerOptions } from '../src/landmarker.js';
import type { Pixels } from '../src/pixels.js';

const PHOTO: Pixels = { data: new Uint8Array(9 * 9 * 3), width: 9, height: 9, channels: 3 };

/** A landmarker over a finder that says what it is asked. */
function start() {
  const asked: unknown[][] = [];
  const find = async (_: Pixels, ...rest: unknown[]) => void asked.push(['find', ...rest]);
  const findIn = async (_: Pixels, ...rest: unknown[]) => void asked.push(['findIn', ...rest]);
  const finder = { find, findIn } as unknown as FaceFinder;
  const create = Landmarker as unknown as new (finder: FaceFinder, threads: number) => Landmarker; // it is private
  return { landmarker: new create(finder, 1), asked };
}

it.each([
  [{ roll: 'sideways' }, "roll 'sideways' is neither 'any' nor 'upright'"],
  [{ minConfidence: 50 }, 'minConfidence must be within 0 and 1, got 50'],
  [{ threads: 0 }, 'threads must be 1 or more, got 0'],
  [{ boxTransform: { scale: 0, shiftX: 0, shiftY: 0 } }, 'a box transform needs a scale above 0 and finite shifts, got scale 0'],
  [{ boxTransform: { scale: 1, shiftX: 0 } }, 'shiftY undefined'],
])('is not created with settings out of range: %j', async (options, why) => {
  const created = Landmarker.create(options as unknown as LandmarkerOptions);
  await expect(created).rejects.toThrow(InputError);
  await expect(created).rejects.toThrow(why);
});

it.each([
  [{ maxFaces: 0 }, 'maxFaces must be 1 or more, got 0; leave it out for all faces'],
  [{ maxFaces: NaN }, 'maxFaces must be 1 or more, got NaN'],
  [{ boxes: [[0, 0, 9, 9]], boxType: 'tight' }, "boxType 'tight' is neither 'detector' nor 'landmarks'"],
  [{ boxes: [[0, 0, 9, 9], [9, 0, 0, 9]] }, 'box 1 is [9,0,0,9]; it needs four finite numbers with x0 < x1 and y0 < y1'],
  [{ boxes: [[0, 0, NaN, 9]] }, 'box 0 is [0,0,NaN,9]'],
  [{ boxes: [[0, 0, 9]] }, 'box 0 is [0,0,9]'],
  [{ boxes: [[0, 0, 9, 9]], roll: [1, 2] }, 'there are 1 boxes but 2 rolls; give one number, or one for each box'],
  [{ boxes: [[0, 0, 9, 9]], roll: NaN }, 'roll must be a number, or one for each box'],
  [{ boxes: [[0, 0, 9, 9]], roll: [Infinity] }, 'roll must be a number, or one for each box'],
  [{ roll: 30 }, 'roll says how the faces in given boxes are rotated; give boxes with it, or leave it out'],
])('settings that tell nothing are refused: %j', async (options, why) => {
  const { landmarker, asked } = start();
  const found = landmarker.detect(PHOTO, options as unknown as DetectOptions);
  await expect(found).rejects.toThrow(InputError);
  await expect(found).rejects.toThrow(why);
  expect(asked).toEqual([]);
});

it('a roll for all boxes is one for each', async () => {
  const { landmarker, asked } = start();
  const boxes = [[0, 0, 9, 9], [1, 1, 9, 9]] as const;
  await landmarker.detect(PHOTO, { boxes, roll: 30 });
  await landmarker.detect(PHOTO, { boxes, boxType: 'landmarks', roll: [30, 40] });
  await landmarker.detect(PHOTO, { boxes });
  await landmarker.detect(PHOTO, { maxFaces: 2 });
  expect(asked).toEqual([
    ['findIn', boxes, 'detector', [30, 30]],
    ['findIn', boxes, 'landmarks', [30, 40]],
    ['findIn', boxes, 'detector', null],
    ['find', 2],
  ]);
});
