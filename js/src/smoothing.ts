/** The One-Euro filter: still points stay still, moving points are followed without lag. */

import { InputError } from './errors.js';
import type { Point } from './geometry.js';

/** Settings of the One-Euro filter, in units of the face, so that they hold at every size and frame rate. */
export interface Smoothing {
  /** Hz that pass when a point rests; lower is stiller. */
  readonly cutoff: number;
  /** By how many Hz the cutoff rises per face side per second; higher lags less. */
  readonly beta: number;
  /** Hz at which the speed itself is smoothed. */
  readonly speedCutoff: number;
}

export const SMOOTHING: Smoothing = { cutoff: 1, beta: 30, speedCutoff: 2 };

/** Filter of one face's points over time (Casiez, Roussel & Vogel, "1 Euro Filter", CHI 2012). */
export class OneEuro {
  private state: { points: readonly Point[]; speed: readonly Point[]; seen: readonly Point[]; time: number } | null = null;

  /** @throws InputError if a cutoff is not above 0, beta is below 0, or a value is not finite. */
  constructor(readonly settings: Smoothing = SMOOTHING) {
    const { cutoff, beta, speedCutoff } = settings;
    if ([cutoff, beta, speedCutoff].every(Number.isFinite) && cutoff > 0 && speedCutoff > 0 && beta >= 0) return;
    const given = `cutoff ${cutoff}, beta ${beta}, speedCutoff ${speedCutoff}`;
    throw new InputError(`smoothing needs cutoffs above 0 and a beta of 0 or more, all finite; got ${given}`);
  }

  /**
   * Smooth the points of the next frame.
   *
   * @param points pixels.
   * @param time of the frame, seconds; a frame that is not later than the last starts anew.
   * @param side larger side of the face, pixels; the unit of speed.
   */
  filter(points: readonly Point[], time: number, side: number): readonly Point[] {
    const last = this.state;
    const elapsed = last ? time - last.time : 0;
    if (!last || !(elapsed > 0)) {
      this.state = { points, speed: points.map(() => [0, 0]), seen: points, time };
      return points;
    }
    const { cutoff, beta, speedCutoff } = this.settings;
    const rate = weight(speedCutoff, elapsed);
    const speed = points.map(([x, y], index): Point => {
      const [dx, dy] = last.speed[index];
      const [oldX, oldY] = last.seen[index];
      const unit = elapsed * side;
      return [dx + rate * ((x - oldX) / unit - dx), dy + rate * ((y - oldY) / unit - dy)];
    });
    const smooth = points.map(([x, y], index): Point => {
      // One cutoff per point, not per coordinate: a filter that treats x and y alike does not bend its path.
      const share = weight(cutoff + beta * Math.hypot(...speed[index]), elapsed);
      const [oldX, oldY] = last.points[index];
      return [oldX + share * (x - oldX), oldY + share * (y - oldY)];
    });
    this.state = { points: smooth, speed, seen: points, time };
    return smooth;
  }
}

/** Return the share of the new value that a first-order low-pass of `cutoff` Hz takes after `elapsed` seconds. */
function weight(cutoff: number, elapsed: number): number {
  const turn = 2 * Math.PI * cutoff * elapsed;
  return turn / (turn + 1);
}
