/**
 * A second crop for faces whose box was off: cut by the landmarks that the first crop gave.
 *
 * A face detector's box says only roughly where the landmarks are, and a network is at its best on a crop that fits them
 * as in training. The first pass finds them well enough to tell the better crop, which is then cut from the image.
 */

import { compose, cropMatrix, frameBox, iou, type Matrix, roundEven, side, snap, uprightBox } from './geometry.js';
import type { LandmarkNetwork, Prediction } from './model.js';
import { type Pixels, warp } from './pixels.js';
import { MAX_ROLL, rollAngle } from './roll.js';

// IoU of the box that a face was cut by with that of its landmarks below which it is cut again.
const FITS = 0.8;
const LARGEST = 3; // times the first box's side: landmarks so far apart are no face's

/** A face that was cut out. */
export interface Crop {
  /** From the image to the crop. */
  readonly matrix: Matrix;
  /** Whether it was cut out by its landmarks; other boxes may be off, as a detector's are. */
  readonly exact: boolean;
  /** What the network found in the crop. */
  readonly found: Prediction;
}

/**
 * Cut those faces again that do not fit their crops, and run the network on them once more, all in one call.
 *
 * @param model the network. Faces of a mark-up of `crop: face` stay as they are, for points do not give their boxes.
 * @param image what they were cut out of.
 * @returns The crops that count, and what was found in them; the same objects where a face was not cut again.
 */
export async function recrop(model: LandmarkNetwork, image: Pixels, crops: readonly Crop[]): Promise<Crop[]> {
  const { markup, size, scale } = model.card;
  const result = [...crops];
  if (markup.crop === 'face') return result;
  const frame = frameBox(size, scale);
  const again: { row: number; matrix: Matrix }[] = [];
  crops.forEach(({ matrix, exact, found: { points } }, row) => {
    if (exact) return;
    const angle = rollAngle(points, markup);
    const roll = Math.abs(angle) > MAX_ROLL ? roundEven(angle) : 0; // less than that the network has learned
    const box = snap(uprightBox(points, roll));
    const plausible = side(box) < LARGEST * side(frame);
    if (!plausible || !(iou(box, frame) < FITS)) return;
    again.push({ row, matrix: compose(cropMatrix(box, size, scale, -roll), matrix) });
  });
  if (!again.length) return result;
  const found = await model.predict(again.map(({ matrix }) => warp(image, matrix, size)));
  again.forEach(({ row, matrix }, index) => {
    result[row] = { ...crops[row], matrix, found: found[index] };
  });
  return result;
}
