import { expect, it } from 'vitest';

import { centre, type Point, radians, side, tightBox } from '../src/geometry.js';
import type { MarkUp } from '../src/markup.js';
import { headPose } from '../src/pose.js';

const IBUG68 = { name: 'ibug68', count: 68 } as MarkUp;
// Some points of the generic head, in mm: x to the right, y down, z away from the camera.
const HEAD: Record<number, number[]> = {
  27: [0, -1, -21], 28: [0, 11, -28], 29: [0, 23, -35], 30: [0, 36, -41], 31: [-15, 44, -21], 33: [0, 49, -26],
  35: [15, 44, -21], 36: [-45, 0, 0], 39: [-19, 2, -6], 42: [19, 2, -6], 45: [45, 0, 0], 48: [-29, 67, 3], 54: [29, 67, 3],
};

/** What a camera five face sides away sees of the head, turned about y, then x, then z. */
function seen(yaw: number, pitch: number, roll: number): Point[] {
  const [p, q, r] = [yaw, pitch, roll].map(radians);
  const turned = Object.values(HEAD).map(([x, y, z]) => {
    [x, z] = [x * Math.cos(p) - z * Math.sin(p), x * Math.sin(p) + z * Math.cos(p)];
    [y, z] = [y * Math.cos(q) + z * Math.sin(q), z * Math.cos(q) - y * Math.sin(q)];
    return [x * Math.cos(r) - y * Math.sin(r), x * Math.sin(r) + y * Math.cos(r), z];
  });
  let [right, down, away] = [0, 0, 500];
  let points: Point[] = [];
  for (let step = 0; step < 60; step++) { // until the face is in the middle of the picture, and its side a fifth of it
    points = turned.map(([x, y, z]): Point => [(x + right) / (z + away), (y + down) / (z + away)]);
    const box = tightBox(points);
    right -= centre(box)[0] * away;
    down -= centre(box)[1] * away;
    away *= side(box) * 5;
  }
  const indices = Object.keys(HEAD).map(Number);
  return Array.from({ length: 68 }, (_, index) => {
    const [x, y] = points[Math.max(indices.indexOf(index), 0)];
    return [1000 * x + 300, 1000 * y + 200];
  });
}

it.each([
  [0, 0, 0], [30, 0, 0], [-30, 0, 0], [0, 20, 0], [0, -20, 0], [0, 0, 40], [0, 0, -170], [55, 15, 25], [-40, -25, 100],
])('a head turned by yaw %d, pitch %d, roll %d', (yaw, pitch, roll) => {
  const found = headPose(seen(yaw, pitch, roll), IBUG68)!;
  expect(found.yaw).toBeCloseTo(yaw, 4);
  expect(found.pitch).toBeCloseTo(pitch, 4);
  expect(found.roll).toBeCloseTo(roll, 4);
});

it('yaw is positive towards the right of the image: the nose is nearer to the right eye corner', () => {
  const points = seen(30, 0, 0);
  expect(points[45][0] - points[30][0]).toBeLessThan(points[30][0] - points[36][0]);
});

it('there is none without the iBUG points, or where they lie in one spot', () => {
  expect(headPose(seen(0, 0, 0).slice(0, 5), { name: 'five5', count: 5 } as MarkUp)).toBeNull();
  expect(headPose(Array(68).fill([3, 4]), IBUG68)).toBeNull();
  expect(headPose([...Array(67).fill([3, 4]), [9, 9]], IBUG68)).toBeNull();
});
