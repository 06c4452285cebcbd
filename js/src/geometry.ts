/**
 * Boxes, and similarity transforms between a photo and the frame a network sees.
 *
 * Pixels: x to the right, y down; the centre of the top-left pixel is (0, 0). A frame of `size` pixels spans
 * [-0.5, size - 0.5].
 */

/** x, y in pixels. */
export type Point = readonly [number, number];
/** x0, y0, x1, y1 in pixels. */
export type Box = readonly [number, number, number, number];
/** Rows of a 2x3 matrix, one after the other: (x, y) becomes (m0 x + m1 y + m2, m3 x + m4 y + m5). */
export type Matrix = readonly [number, number, number, number, number, number];

const SNAPS = 512; // steps of a box's side: `snap`

export const radians = (degrees: number): number => (degrees * Math.PI) / 180;
export const degrees = (angle: number): number => (angle * 180) / Math.PI;

/** Compute the smallest box that holds points. */
export function tightBox(points: readonly Point[]): Box {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    x0 = Math.min(x0, x);
    y0 = Math.min(y0, y);
    x1 = Math.max(x1, x);
    y1 = Math.max(y1, y);
  }
  return [x0, y0, x1, y1];
}

/** Compute a box's centre. */
export function centre([x0, y0, x1, y1]: Box): Point {
  return [(x0 + x1) / 2, (y0 + y1) / 2];
}

/** Compute a box's larger side. */
export function side([x0, y0, x1, y1]: Box): number {
  return Math.max(x1 - x0, y1 - y0);
}

/** Compute a box's area. */
export function area([x0, y0, x1, y1]: Box): number {
  return (x1 - x0) * (y1 - y0);
}

/**
 * Make a box square about its centre.
 *
 * @param scale side of the square, in units of the box's larger side.
 */
export function square(box: Box, scale = 1): Box {
  return squareAt(centre(box), side(box) * scale);
}

function squareAt([x, y]: Point, length: number): Box {
  return [x - length / 2, y - length / 2, x + length / 2, y + length / 2];
}

/**
 * Round a box a little, so that what is cut by it does not depend on the last digits of what it comes from.
 *
 * Networks of 8 bits answer to pixels that differ by one level, and what is cut by their answers differs the more.
 *
 * @returns A square box about nearly the same centre, its side and centre rounded to the power of two that is nearest to a
 *   512th of the side.
 */
export function snap(box: Box): Box {
  const length = side(box);
  const step = 2 ** roundEven(Math.log2(Math.max(length, 1e-6) / SNAPS));
  const [x, y] = centre(box);
  return squareAt([roundEven(x / step) * step, roundEven(y / step) * step], roundEven(length / step) * step);
}

/**
 * Compute the square box that holds rotated points tightly once the rotation is undone about their centre.
 *
 * @param roll degrees by which the points are rotated, clockwise as seen.
 */
export function uprightBox(points: readonly Point[], roll: number): Box {
  const cos = Math.cos(radians(roll));
  const sin = Math.sin(radians(roll));
  const box = tightBox(points.map(([x, y]): Point => [cos * x + sin * y, cos * y - sin * x]));
  const [x, y] = centre(box);
  return squareAt([cos * x - sin * y, sin * x + cos * y], side(box));
}

/**
 * Compute the transform from the photo to a frame that the square box fills.
 *
 * @param size side of the frame in pixels.
 * @param scale side of the square, in units of the box's larger side.
 * @param rotation degrees by which the content turns, clockwise as seen, about the box's centre.
 */
export function cropMatrix(box: Box, size: number, scale = 1, rotation = 0): Matrix {
  const [x, y] = centre(box);
  const factor = size / (Math.max(side(box), 1e-6) * scale); // a box without extent is a point: zoomed in far, but finite
  const cos = Math.cos(radians(rotation)) * factor;
  const sin = Math.sin(radians(rotation)) * factor;
  const middle = (size - 1) / 2;
  return [cos, -sin, middle - (cos * x - sin * y), sin, cos, middle - (sin * x + cos * y)];
}

/** Map points by a matrix. */
export function apply([a, b, c, d, e, f]: Matrix, points: readonly Point[]): Point[] {
  return points.map(([x, y]): Point => [a * x + b * y + c, d * x + e * y + f]);
}

/** Invert a transform. */
export function invert([a, b, c, d, e, f]: Matrix): Matrix {
  const determinant = a * e - b * d;
  const [p, q, r, s] = [e / determinant, -b / determinant, -d / determinant, a / determinant];
  return [p, q, -(p * c + q * f), r, s, -(r * c + s * f)];
}

/** Compute the transform that does one after the other: `inner` comes first, `outer` second. */
export function compose([a, b, c, d, e, f]: Matrix, [p, q, r, s, t, u]: Matrix): Matrix {
  return [a * p + b * s, a * q + b * t, a * r + b * u + c, d * p + e * s, d * q + e * t, d * r + e * u + f];
}

/**
 * Return the square box that a frame was cut by, in the frame itself.
 *
 * @param size side of the frame in pixels.
 * @param scale side of the frame, in units of the box's.
 */
export function frameBox(size: number, scale = 1): Box {
  return square([-0.5, -0.5, size - 0.5, size - 0.5], 1 / scale);
}

/** Compute how many frame pixels one photo pixel becomes. */
export function zoom([a, b, , d, e]: Matrix): number {
  return Math.sqrt(Math.abs(a * e - b * d));
}

/** Compute the area that two boxes share. */
export function shared(first: Box, second: Box): number {
  const width = Math.min(first[2], second[2]) - Math.max(first[0], second[0]);
  const height = Math.min(first[3], second[3]) - Math.max(first[1], second[1]);
  return Math.max(width, 0) * Math.max(height, 0);
}

/** Compute the intersection over union of two boxes; 0 where neither has an area. */
export function iou(first: Box, second: Box): number {
  const both = shared(first, second);
  const extent = ([x0, y0, x1, y1]: Box) => Math.max(x1 - x0, 0) * Math.max(y1 - y0, 0);
  const union = extent(first) + extent(second) - both;
  return union > 0 ? both / union : 0;
}

/** Map a box by a matrix that turns by quarters of a circle. */
export function mapBox(matrix: Matrix, [x0, y0, x1, y1]: Box): Box {
  return tightBox(apply(matrix, [[x0, y0], [x1, y1]]));
}

/** Rotate a box about the origin by quarters of a circle, clockwise as seen. */
export function rotateBox(box: Box, quarters: number): Box {
  let corners: Point[] = [[box[0], box[1]], [box[2], box[3]]];
  for (let turn = ((quarters % 4) + 4) % 4; turn > 0; turn--) corners = corners.map(([x, y]): Point => [-y, x]);
  return tightBox(corners);
}

/** How a face detector's box becomes the box that a network was trained on. */
export interface BoxTransform {
  /** Side of the network's square box, in units of the detector box's larger side. */
  readonly scale: number;
  /** By how much the centre moves to the right, in the same units. */
  readonly shiftX: number;
  /** By how much it moves down. */
  readonly shiftY: number;
}

/** Transform a detector's box; the result is square. */
export function transformBox(box: Box, { scale, shiftX, shiftY }: BoxTransform): Box {
  const [x, y] = centre(box);
  const length = side(box);
  return squareAt([x + length * shiftX, y + length * shiftY], length * scale);
}

/** Round to the next whole number, halves to the even one, as Python and OpenCV do. */
export function roundEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
