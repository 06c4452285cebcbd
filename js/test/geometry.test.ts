import { describe, expect, it } from 'vitest';

import {
  apply,
  type Box,
  compose,
  cropMatrix,
  frameBox,
  invert,
  iou,
  mapBox,
  type Matrix,
  type Point,
  rotateBox,
  roundEven,
  snap,
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

  it('are rounded by their size', () => {
    expect(snap([10.3, 20.4, 410.2, 60])).toEqual([10, -160, 410, 240]); // in steps of 1
    expect(snap([0, 0, 801.2, 100])).toEqual([-1, -351, 801, 451]); // of 2
    expect(snap([5.005, 5, 17.005, 9])).toEqual([5, 1, 17, 13]); // of a 32nd
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

  it('of crops do one after the other', () => {
    const [outer, inner]: Matrix[] = [[2, 0, 1, 0, 2, -1], [0, -1, 3, 1, 0, 4]]; // twice as large; a quarter turn
    expect(compose(outer, inner)).toEqual([0, -2, 7, 2, 0, 7]);
    expect(compose(inner, outer)).toEqual([0, -2, 4, 2, 0, 5]);
    const [photo, crop] = [cropMatrix(BOX, 112, 1.2, 33), cropMatrix([20, 30, 90, 85], 64, 1.1, -70)];
    close(apply(compose(crop, photo), POINTS).flat(), apply(crop, apply(photo, POINTS)).flat());
  });

  it('have the box that they were cut by in their middle', () => {
    close(frameBox(64), [-0.5, -0.5, 63.5, 63.5]);
    close(frameBox(60, 1.2), [4.5, 4.5, 54.5, 54.5]);
    close(mapBox(cropMatrix(BOX, 112, 1.2), BOX), frameBox(112, 1.2));
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
