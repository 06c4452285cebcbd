import { describe, expect, it } from 'vitest';

import { FaceFinder } from '../src/finder.js';
import type { Box, Point } from '../src/geometry.js';
import type { MarkUp } from '../src/markup.js';
import type { LandmarkNetwork } from '../src/model.js';
import type { Pixels } from '../src/pixels.js';

const SIDE = 200;
const BOX: Box = [50, 50, 150, 150];
const UPRIGHT: Point[] = [[14, 14], [50, 14], [32, 34], [18, 48], [46, 48]]; // eyes, nose and mouth in a crop of 64 px
const SCALING = { middle: 0.5, slope: 20 };

/** A photo whose right half is bright: turned upright, its upper half is. */
function photo(): Pixels {
  const data = new Uint8Array(SIDE * SIDE * 3);
  for (let at = 0; at < data.length; at++) data[at] = Math.floor(at / 3) % SIDE < SIDE / 2 ? 0 : 200;
  return { data, width: SIDE, height: SIDE, channels: 3 };
}

/** The mean of all points' confidence with which a face has this confidence as a whole. */
function logit(level: number): number {
  return SCALING.middle + Math.log(level / (1 - level)) / SCALING.slope;
}

/** A network that trusts crops whose upper half is the bright one by 0.95, all others by `level`; counts what it is asked. */
function network(level: number): { model: LandmarkNetwork; asked: number[] } {
  const asked: number[] = [];
  const card = { size: 64, scale: 1.2, markup: { name: 'five5', count: 5 } as MarkUp, faceCalibration: SCALING };
  const predict = (crops: readonly Pixels[]): Promise<{ points: Point[]; confidence: number[]; visible: null }[]> => {
    asked.push(crops.length);
    const found = crops.map(({ data, width, height, channels }) => {
      const bright = (from: number, to: number): number => {
        let sum = 0;
        for (let at = from * width * channels; at < to * width * channels; at++) sum += data[at];
        return sum;
      };
      const isUpright = bright(0, height / 2) > 2 * bright(height / 2, height);
      return { points: UPRIGHT, confidence: Array<number>(5).fill(logit(isUpright ? 0.95 : level)), visible: null };
    });
    return Promise.resolve(found);
  };
  return { model: { card, predict } as unknown as LandmarkNetwork, asked };
}

/** A finder, and the sides of all images that were searched for faces: one face in the photo as it is, none elsewhere. */
function finder(level: number): { find: FaceFinder; searched: string[]; asked: number[] } {
  const searched: string[] = [];
  const { model, asked } = network(level);
  const detect = (image: Pixels): Promise<{ box: Box; score: number }[]> => {
    searched.push(`${image.width} x ${image.height}`);
    return Promise.resolve(searched.length === 1 ? [{ box: BOX, score: 0.9 }] : []);
  };
  const transform = { scale: 1, shiftX: 0, shiftY: 0 };
  return { find: new FaceFinder(model, { detect }, transform, true, 0), searched, asked };
}

describe('rolled faces', () => {
  it('of given boxes are tried in other rolls unless they are surely upright', async () => {
    const little = finder(0.7);
    const [found] = await little.find.findIn(photo(), [BOX], 'landmarks', null);
    expect(found.faceConfidence).toBeCloseTo(0.95, 6);
    expect(little.asked).toEqual([1, 3, 1]); // as it is, in three rolls, and once more by the best one's landmarks
    const sure = finder(0.85);
    const [kept] = await sure.find.findIn(photo(), [BOX], 'landmarks', null);
    expect(kept.faceConfidence).toBeCloseTo(0.85, 6);
    expect(sure.asked).toEqual([1]);
  });

  it('of known roll are cut out once', async () => {
    const { find, asked } = finder(0.1);
    const [found] = await find.findIn(photo(), [BOX], 'landmarks', [90]);
    expect(found.faceConfidence).toBeCloseTo(0.95, 6);
    expect(asked).toEqual([1]);
  });

  it('are searched for about a doubtful face, and in the whole photo if none may be upright', async () => {
    const region = '288 x 96'; // what is about the face, turned by one, two and three quarters, in one image
    const whole = `${SIDE} x ${SIDE}`;
    for (const [level, expected] of [
      [0.85, [whole]],
      [0.7, [whole, region]],
      [0.35, [whole, region]],
      [0.25, [whole, region, whole, whole, whole]],
    ] as const) {
      const { find, searched } = finder(level);
      const [face] = await find.find(photo());
      expect(face.faceConfidence).toBeCloseTo(level, 6);
      expect(searched).toEqual(expected);
    }
  });
});
