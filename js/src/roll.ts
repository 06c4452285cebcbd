/** How a face is rotated in the image: by its eyes, nose and mouth. */

import { degrees, type Point } from './geometry.js';
import { convert, type MarkUp } from './markup.js';

/** Degrees, by validation faces; beyond, a face's crop is turned upright and the network runs again. */
export const MAX_ROLL = 15;
// Eyes, nose tip and mouth corners of a face that looks into the camera, about their centre.
const UPRIGHT: readonly Point[] = [[-48, -44], [48, -44], [0, 8], [-37, 40], [37, 40]];
const EXTENT = UPRIGHT.reduce((sum, [x, y]) => sum + x * x + y * y, 0);

/**
 * Measure the roll of a face: the rotation of the similarity that fits an upright face to eyes, nose and mouth.
 *
 * @returns Degrees, clockwise as seen. 0 for a mark-up without eyes, nose and mouth, and for a face no larger than a pixel.
 */
export function rollAngle(points: readonly Point[], markup: MarkUp): number {
  const five = convert(points, markup.name, 'five5');
  if (!five) return 0;
  let [cos, sin] = [0, 0];
  five.forEach(([x, y], index) => {
    const [u, v] = UPRIGHT[index];
    cos += (x * u + y * v) / EXTENT;
    sin += (y * u - x * v) / EXTENT;
  });
  const size = Math.hypot(cos, sin) * Math.hypot(...UPRIGHT[0]); // from the centre to an eye, in pixels
  return size < 1 ? 0 : degrees(Math.atan2(sin, cos));
}
