/** Which way a head is turned, from its landmarks. */

import { centre, degrees, type Point, radians, side, tightBox } from './geometry.js';
import { convert, type MarkUp } from './markup.js';

type Vector = [number, number, number];

// A generic face in mm, by iBUG point, as in Python's facekd.runtime.pose: x to the image's right, y down, z away from the
// camera, the origin midway between the outer eye corners.
const FACE: Record<number, Vector> = {
  27: [0, -1, -21], // root of the nose
  28: [0, 11, -28],
  29: [0, 23, -35],
  30: [0, 36, -41], // tip of the nose
  31: [-15, 44, -21], // wings of the nose
  33: [0, 49, -26], // below the nose
  35: [15, 44, -21],
  36: [-45, 0, 0], // eye corners
  39: [-19, 2, -6],
  42: [19, 2, -6],
  45: [45, 0, 0],
  48: [-29, 67, 3], // mouth corners
  54: [29, 67, 3],
};
const MODEL = Object.entries(FACE).map(([index, place]) => ({ index: Number(index), place }));
// The camera is taken to be this many face sides away, looking straight at the face: its true lens is not known.
const DISTANCE = 5;
// Where the search starts; the best of what is found counts.
const STARTS = [-50, 0, 50].flatMap((yaw) => [-35, 0, 35].map((pitch) => ({ yaw, pitch })));
const [STEPS, STILL] = [60, 1e-9]; // steps of a search at most, and the turn in radians that ends it

/** The rotation of a head in degrees, 0 when it faces the camera. */
export interface Pose {
  /** Positive towards the image's right. */
  readonly yaw: number;
  /** Positive up. */
  readonly pitch: number;
  /** Positive clockwise, as seen in the image. */
  readonly roll: number;
}

/**
 * Estimate the pose of a face by fitting a generic head to 13 of its points; good to some degrees, for faces differ.
 *
 * What is made small is the algebraic error of Terzakis & Lourakis, "A consistently fast and globally optimal solution to
 * the perspective-n-point problem", ECCV 2020, which OpenCV has as SQPNP; here by Levenberg and Marquardt's method from
 * several starts.
 *
 * @returns The pose; null if the mark-up does not hold the iBUG points, or these lie in one spot.
 */
export function headPose(points: readonly Point[], markup: MarkUp): Pose | null {
  const ibug = convert(points, markup.name, 'ibug68');
  if (!ibug) return null;
  const box = tightBox(ibug);
  const length = side(box);
  const seen = MODEL.map(({ index }) => ibug[index]);
  if (!(length > 0) || !(side(tightBox(seen)) > 1e-6 * length)) return null;
  const [x, y] = centre(box);
  const rays = seen.map(([u, v]): Point => [(u - x) / length / DISTANCE, (v - y) / length / DISTANCE]);
  const error = new AlgebraicError(rays);
  const eyes = rays[MODEL.findIndex(({ index }) => index === 45)];
  const other = rays[MODEL.findIndex(({ index }) => index === 36)];
  const roll = degrees(Math.atan2(eyes[1] - other[1], eyes[0] - other[0]));
  let best: { rotation: number[]; value: number } | undefined;
  for (const start of STARTS) {
    const found = minimise(error, rotationOf({ ...start, roll }));
    if (Number.isFinite(found.value) && error.inFront(found.rotation) && found.value < (best?.value ?? Infinity)) best = found;
  }
  return best ? anglesOf(best.rotation) : null;
}

/** Sum of squares by which a rotated and best translated head misses the rays, as a quadratic form of the rotation. */
class AlgebraicError {
  /** 9x9: the error of a rotation r, row by row, is r' form r. */
  readonly form = zeros(9, 9);
  private readonly translation: number[][]; // 3x9: the best one is its product with r

  constructor(rays: readonly Point[]) {
    const total = zeros(3, 3);
    const mixed = zeros(3, 9);
    rays.forEach(([x, y], point) => {
      const weight = [[1, 0, -x], [0, 1, -y], [-x, -y, x * x + y * y]];
      const { place } = MODEL[point];
      for (let i = 0; i < 3; i++) {
        for (let j = 0; j < 3; j++) {
          total[i][j] += weight[i][j];
          for (let k = 0; k < 3; k++) {
            mixed[i][3 * j + k] += weight[i][j] * place[k];
            for (let l = 0; l < 3; l++) this.form[3 * i + k][3 * j + l] += weight[i][j] * place[k] * place[l];
          }
        }
      }
    });
    const columns = Array.from({ length: 9 }, (_, column) => solve(total, mixed.map((row) => -row[column])));
    this.translation = [0, 1, 2].map((row) => columns.map((column) => column[row]));
    for (let i = 0; i < 9; i++) {
      for (let j = 0; j < 9; j++) {
        for (let k = 0; k < 3; k++) this.form[i][j] += mixed[k][i] * this.translation[k][j];
      }
    }
  }

  of(rotation: readonly number[]): number {
    return dot(rotation, this.form.map((row) => dot(row, rotation)));
  }

  /** Whether the head is before the camera, not behind it. */
  inFront(rotation: readonly number[]): boolean {
    const mean = [0, 1, 2].map((axis) => MODEL.reduce((sum, { place }) => sum + place[axis], 0) / MODEL.length);
    return dot(rotation.slice(6), mean) + dot(this.translation[2], rotation) > 0;
  }
}

/** Turn a head until no small turn makes the error smaller. */
function minimise(error: AlgebraicError, start: number[]): { rotation: number[]; value: number } {
  let rotation = start;
  let value = error.of(rotation);
  let damping = 1e-3;
  for (let step = 0; step < STEPS; step++) {
    // How the rotation changes with a small turn about each axis.
    const changes = [0, 1, 2].map((axis) => multiply(generator(axis), rotation));
    const slopes = changes.map((change) => error.form.map((row) => dot(row, change)));
    const gradient = slopes.map((slope) => -dot(slope, rotation));
    const curvature = changes.map((change, i) => slopes.map((slope, j) => dot(change, slope) * (i === j ? 1 + damping : 1)));
    const turn = solve(curvature, gradient);
    const turned = multiply(rodrigues(turn), rotation);
    const reached = error.of(turned);
    if (!(reached <= value)) {
      damping *= 10;
      if (!(damping < 1e12)) break;
      continue;
    }
    [rotation, value, damping] = [turned, reached, damping / 10];
    if (Math.hypot(...turn) < STILL) break;
  }
  return { rotation, value };
}

/** Return the rotation, row by row, that turns about y, then x, then z. */
function rotationOf({ yaw, pitch, roll }: Pose): number[] {
  const [p, q, r] = [yaw, pitch, roll].map((angle) => ({ cos: Math.cos(radians(angle)), sin: Math.sin(radians(angle)) }));
  const aboutY = [p.cos, 0, -p.sin, 0, 1, 0, p.sin, 0, p.cos];
  const aboutX = [1, 0, 0, 0, q.cos, q.sin, 0, -q.sin, q.cos];
  const aboutZ = [r.cos, -r.sin, 0, r.sin, r.cos, 0, 0, 0, 1];
  return multiply(aboutZ, multiply(aboutX, aboutY));
}

function anglesOf(rotation: readonly number[]): Pose {
  return {
    yaw: degrees(Math.atan2(rotation[6], rotation[8])),
    pitch: degrees(Math.asin(Math.min(Math.max(-rotation[7], -1), 1))),
    roll: degrees(Math.atan2(-rotation[1], rotation[4])),
  };
}

/** Return the rotation by an axis whose length is the angle (Rodrigues' formula). */
function rodrigues(axis: readonly number[]): number[] {
  const angle = Math.hypot(...axis);
  const skew = [0, 1, 2].map((index) => generator(index)).reduce(
    (sum, part, index) => sum.map((entry, at) => entry + part[at] * axis[index]),
    new Array(9).fill(0) as number[],
  );
  const [first, second] = angle > 1e-8 ? [Math.sin(angle) / angle, (1 - Math.cos(angle)) / angle ** 2] : [1, 0.5];
  const squared = multiply(skew, skew);
  return skew.map((entry, at) => (at % 4 === 0 ? 1 : 0) + first * entry + second * squared[at]);
}

function generator(axis: number): number[] {
  return [
    [0, 0, 0, 0, 0, -1, 0, 1, 0],
    [0, 0, 1, 0, 0, 0, -1, 0, 0],
    [0, -1, 0, 1, 0, 0, 0, 0, 0],
  ][axis];
}

/** Multiply two 3x3 matrices, row by row. */
function multiply(a: readonly number[], b: readonly number[]): number[] {
  return a.map((_, at) => {
    const [row, column] = [3 * Math.floor(at / 3), at % 3];
    return a[row] * b[column] + a[row + 1] * b[3 + column] + a[row + 2] * b[6 + column];
  });
}

/** Solve three linear equations by Cramer's rule. */
function solve([a, b, c]: readonly (readonly number[])[], values: readonly number[]): number[] {
  const determinant = (p: readonly number[], q: readonly number[], r: readonly number[]): number =>
    p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0]) + p[2] * (q[0] * r[1] - q[1] * r[0]);
  const whole = determinant(a, b, c);
  return [0, 1, 2].map((column) => {
    const [p, q, r] = [a, b, c].map((row, index) => row.map((entry, at) => (at === column ? values[index] : entry)));
    return determinant(p, q, r) / whole;
  });
}

function dot(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += a[index] * b[index];
  return sum;
}

function zeros(rows: number, columns: number): number[][] {
  return Array.from({ length: rows }, () => new Array<number>(columns).fill(0));
}
