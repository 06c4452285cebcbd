import { describe, expect, it } from 'vitest';

import {
  apply,
  type Box,
  cropMatrix,
  invert,
  iou,
  mapBox,
  type Point,
  rotateBox,
  roundEven,
  square,
  tightBox,
  transformBox,
  uprightBox,
  zoom,
} from '../src/geometry.js';

const BOX: Box = [10, 20, 30, 40];
const POINTS: Point[] = [[12, 25], [28, 31], [17, 39], [20, 20]];

function close(found: readonly number[], wanted: readonly number[]): void {
  expect(found.length).toBe(wanted.length);
  wanted.forEach((value, index) => expect(found[index]).toBeCloseTo(value, 9));
}

describe('boxes', () => {
  it('hold points, and are made square about their centres', () => {
    expect(tightBox(POINTS)).toEqual([12, 20, 28, 39]);
    expect(square([0, 0, 4, 2], 1.5)).toEqual([-1, -2, 5, 4]);
  });

  it('overlap by a third, or not at all', () => {
    expect(iou([0, 0, 2, 2], [1, 0, 3, 2])).toBeCloseTo(1 / 3, 12);
    expect(iou([0, 0, 2, 2], [3, 0, 5, 2])).toBe(0);
    expect(iou([1, 1, 1, 1], [1, 1, 1, 1])).toBe(0);
  });

  it('turn by quarters of a circle, clockwise as seen', () => {
    expect(rotateBox([1, 2, 3, 5], 1)).toEqual([-5, 1, -2, 3]);
    expect(rotateBox(rotateBox([1, 2, 3, 5], 1), -1)).toEqual([1, 2, 3, 5]);
  });

  it('of a detector become those of landmarks', () => {
    close(transformBox([0, 0, 10, 20], { scale: 0.5, shiftX: 0.1, shiftY: -0.2 }), [2, 1, 12, 11]);
  });
});

describe('crops', () => {
  it('span their box from edge to edge', () => {
    const matrix = cropMatrix(BOX, 40);
    close(apply(matrix, [[10, 20], [30, 40], [20, 30]]).flat(), [-0.5, -0.5, 39.5, 39.5, 19.5, 19.5]);
    expect(zoom(matrix)).toBeCloseTo(2, 12);
  });

  it('turn clockwise as seen: what is right of the centre goes below it', () => {
    close(apply(cropMatrix(BOX, 40, 1, 90), [[25, 30]])[0], [19.5, 29.5]);
  });

  it('lead back', () => {
    const matrix = cropMatrix(BOX, 112, 1.2, 33);
    close(apply(invert(matrix), apply(matrix, POINTS)).flat(), POINTS.flat());
    close(mapBox(invert(cropMatrix(BOX, 40, 1, 180)), mapBox(cropMatrix(BOX, 40, 1, 180), BOX)), BOX);
  });

  it.each([0, 30, -75, 160])('of rotated faces hold them upright: %d degrees', (roll) => {
    const turned = apply(cropMatrix([-1, -1, 1, 1], 2, 1, roll), POINTS);
    const upright = apply(cropMatrix(uprightBox(turned, roll), 19, 1, -roll), turned);
    close(tightBox(upright), [1, -0.5, 17, 18.5]); // 16 wide, 19 high, in the middle
  });
});

it('halves are rounded to even numbers', () => {
  expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6].map(roundEven)).toEqual([0, 2, 2, -0, -2, 2, 3]);
});
