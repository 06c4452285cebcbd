import { expect, it } from 'vitest';

import type { Box } from '../src/geometry.js';
import { type Detector, YuNet } from '../src/detector.js';
import type { Pixels } from '../src/pixels.js';
import { decode, type Detection, withoutRepeats, type YuNetNetwork } from '../src/yunet.js';

const VALUES = 16;

/** Maps of an image of 32 x 32 pixels without a face. */
function maps(): Float32Array[] {
  return [16, 4, 1].map((anchors) => {
    const map = new Float32Array(anchors * VALUES);
    for (let anchor = 0; anchor < anchors; anchor++) map.set([-20, -20], anchor * VALUES);
    return map;
  });
}

it('an anchor becomes a box', () => {
  const all = maps();
  // Stride 8, second row, third column; scores 0.5 and 1, centre half and a quarter of a stride on, 16 x 8 pixels.
  all[0].set([0, 30, 0.5, 0.25, Math.log(2), Math.log(1)], 6 * VALUES);
  const [{ box, score }, ...others] = decode(all, 32, 0.6);
  expect(others).toEqual([]);
  expect(score).toBeCloseTo(Math.SQRT1_2, 6);
  [12, 6, 28, 14].forEach((edge, index) => expect(box[index]).toBeCloseTo(edge, 5));
  expect(decode(all, 32, 0.71)).toEqual([]);
});

it('boxes are compared as whole pixels, cut off, as OpenCV does', () => {
  const all = maps();
  const put = (anchor: number, left: number, score: number): void => {
    const [x, side] = [(left + 5.25) / 8 - anchor, Math.log(10.5 / 8)]; // from 0.5 down, 10.5 x 10.5 pixels
    all[0].set([score, 30, x, 5.75 / 8, side, side], anchor * VALUES);
  };
  put(0, 0.9, 3);
  put(1, 6.05, 2); // IoU 0.34; of whole pixels 4 / 16
  expect(decode(all, 32, 0.6).map(({ box }) => Math.trunc(box[0]))).toEqual([0, 6]);
});

it('what is no box is left out', () => {
  const all = maps();
  all[2].set([30, 30, 0, 0, 1000, 0], 0); // its side is infinite
  expect(decode(all, 32, 0.6)).toEqual([]);
});

it('of boxes that overlap by more than 0.3 the best is kept', () => {
  const box = (left: number, score: number): Detection => ({ box: [left, 0, left + 10, 10] as Box, score });
  expect(withoutRepeats([box(0, 0.7), box(5, 0.9), box(20, 0.8)])).toEqual([1, 2]); // IoU 1/3
  expect(withoutRepeats([box(0, 0.7), box(6, 0.9)])).toEqual([1, 0]); // IoU 1/4
  expect(withoutRepeats([])).toEqual([]);
});

/** A network that finds what it is told to in images of some width, and writes down at which widths it was asked. */
function network(answers: Record<number, Detection[]>): { detector: Detector; asked: number[] } {
  const asked: number[] = [];
  const detect = async (image: Pixels, threshold: number): Promise<Detection[]> => {
    asked.push(image.width);
    return (answers[image.width] ?? []).filter(({ score }) => score >= threshold);
  };
  return { detector: new YuNet({ detect } as unknown as YuNetNetwork), asked };
}

const PHOTO: Pixels = { data: new Uint8Array(1280 * 640 * 3), width: 1280, height: 640, channels: 3 };
const face = (x: number, y: number, side: number, score: number): Detection => ({ box: [x, y, x + side, y + side], score });

it('one pass is enough for a large face', async () => {
  const { detector, asked } = network({ 320: [face(100, 50, 60, 0.9)] });
  const [{ box }] = await detector.detect(PHOTO);
  expect(asked).toEqual([320]);
  expect(box).toEqual([401.5, 201.5, 641.5, 441.5]); // 4 (x + 0.5) - 0.5
});

it('a photo without a face is searched at full size, and so is one with a small hint', async () => {
  for (const hints of [[], [face(100, 50, 60, 0.9), face(10, 10, 9, 0.2)]]) {
    const { detector, asked } = network({ 320: hints });
    await detector.detect(PHOTO);
    expect(asked).toEqual([320, 320, 1280]);
  }
});

it('a weak hint that overlaps a face is a part of it', async () => {
  const { detector, asked } = network({ 320: [face(100, 50, 60, 0.9), face(115, 60, 60, 0.3)] });
  expect(await detector.detect(PHOTO)).toHaveLength(1);
  expect(asked).toEqual([320]);
});

it('a strong hint that overlaps a face, or a large one beside it, is looked at in a crop', async () => {
  for (const hint of [face(145, 60, 60, 0.4), face(10, 10, 30, 0.3)]) {
    for (const score of [0.34, 0.5, 0.7]) {
      const { detector, asked } = network({ 320: [face(100, 50, 60, 0.9), hint], 128: [face(32, 32, 64, score)] });
      expect(await detector.detect(PHOTO)).toHaveLength(score < 0.6 ? 1 : 2);
      // What is likely, but not clear, is looked at in the other quarters of the circle, too.
      const unclear = Math.max(hint.score, score) >= 0.35 && score < 0.6;
      expect(asked).toEqual(unclear ? [320, 128, 128, 128, 128] : [320, 128]);
    }
  }
});

it('a small face is boxed again in a crop', async () => {
  const small = network({ 320: [face(100, 50, 40, 0.8)], 128: [face(32, 32, 64, 0.9)] });
  const [{ box, score }] = await small.detector.detect(PHOTO);
  expect(small.asked).toEqual([320, 128]);
  expect(score).toBe(0.9);
  // The crop of 128 pixels shows twice the box's side of 160 pixels: 64 of its pixels are the side.
  [402.75, 202.75, 562.75, 362.75].forEach((edge, index) => expect(box[index]).toBeCloseTo(edge, 9));
});
