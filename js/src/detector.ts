/** Finding faces: YuNet at several scales, and what a detector of one's own must be. */

import { enhancePhoto } from './enhance.js';
import { InputError } from './errors.js';
import { area, type Box, cropMatrix, invert, iou, mapBox, shared, side } from './geometry.js';
import { type Pixels, shrink, warp } from './pixels.js';
import { type Detection, withoutRepeats, type YuNetNetwork } from './yunet.js';

const SMALLEST = 8; // pixels; in narrower images YuNet finds no face but answers at random
// The first pass: the photo's larger side is a quarter of `size` or of its own, within these bounds, in pixels.
const COARSE = [160, 320] as const;
// Scores below the threshold that may be of faces: small ones; larger ones, which are seen more clearly; and those that
// overlap with a face that was found, as rolled faces side by side do.
const [HINT, LARGE_HINT, BESIDE_HINT] = [0.15, 0.2, 0.35];
const [TINY, HINT_SIDE, SURE_SIDE, ROUGH] = [12, 24, 32, 48]; // pixels of the first pass
const SURE_SCORE = 0.75;
const [CROP, FACE_IN_CROP] = [128, 64]; // pixels of the crops that small faces are boxed in again
const SAME = 0.3; // IoU from which a box in a crop is that of the face it was cut out for
const APART = 0.1; // IoU below which a hint is no part of a face that was found
const WHOLE = 0.9; // share of a box within the photo from which a rolled face is looked for in it
const ENLARGED = 1.5; // of faces 20 px wide YuNet finds 86 % as they are, 97 % enlarged by this

/** What finds faces; bring your own by giving `Landmarker.create` an object with this method. */
export interface Detector {
  /**
   * Find faces.
   *
   * @returns Best score first.
   */
  detect(image: Pixels): Promise<Detection[]>;
  /** Search a small crop in one pass, where there is a quicker way than `detect`. */
  detectOnce?(image: Pixels): Promise<Detection[]>;
  /** Give the memory back. */
  delete?(): void;
}

/** Settings of `YuNet`. */
export interface YuNetOptions {
  /** Lowest score that counts as a face, in [0, 1]; default 0.6. */
  threshold?: number;
  /** Photos are shrunk until their larger side is at most this many pixels, which bounds time and memory; default 1280. */
  size?: number;
}

/**
 * Face detector for faces from 20 px to the full frame.
 *
 * A first pass over the shrunk photo finds most faces. Only if something in it may be a face that it shows too small, or if
 * it shows none, the photo is searched at `size` as well.
 */
export class YuNet implements Detector {
  readonly threshold: number;
  readonly size: number;

  constructor(
    private readonly network: YuNetNetwork,
    { threshold = 0.6, size = 1280 }: YuNetOptions = {},
  ) {
    if (!(threshold >= 0 && threshold <= 1)) throw new InputError(`threshold must be within 0 and 1, got ${threshold}`);
    if (!(size >= SMALLEST)) throw new InputError(`size must be ${SMALLEST} or more, got ${size}`);
    [this.threshold, this.size] = [threshold, size];
  }

  async detect(image: Pixels): Promise<Detection[]> {
    const fit = this.size / Math.max(image.width, image.height);
    let found = await this.search(image);
    if (!found.length && fit > 1) found = await this.detectAt(image, Math.min(ENLARGED, fit), this.threshold);
    return withoutRepeats(found).map((index) => found[index]);
  }

  detectOnce(image: Pixels): Promise<Detection[]> {
    return this.detectAt(image, 1, this.threshold);
  }

  delete(): void {
    this.network.delete();
  }

  /** Return what is found at `size` and at a quarter of it. */
  private async atBothScales(image: Pixels): Promise<Detection[]> {
    const fit = this.size / Math.max(image.width, image.height);
    const scales = [...new Set([Math.min(1, fit / 4), Math.min(1, fit)])];
    const found: Detection[] = [];
    for (const scale of scales) found.push(...(await this.detectAt(image, scale, this.threshold)));
    return found;
  }

  /** Return what is found in the shrunk photo, and at `size` if that is needed. */
  private async search(image: Pixels): Promise<Detection[]> {
    const longest = Math.max(image.width, image.height);
    const fine = Math.min(1, this.size / longest);
    const coarse = Math.min(fine, Math.min(Math.max((fine * longest) / 4, COARSE[0]), COARSE[1]) / longest);
    const seen = await this.detectAt(image, coarse, Math.min(HINT, this.threshold));
    const faces = seen.filter(({ score }) => score >= this.threshold);
    const hints = seen.filter(({ score }) => score < this.threshold);
    if (coarse === fine) return faces;
    const sideOf = ({ box }: Detection): number => side(box) * coarse;
    const apart = (hint: Detection): boolean => faces.every((face) => iou(hint.box, face.box) < APART);
    const small = hints.some((hint) => apart(hint) && sideOf(hint) < HINT_SIDE);
    const tiny = faces.some((face) => sideOf(face) < TINY);
    if (!faces.length || tiny || small) {
      // Small faces of low score are trusted only if this pass finds them, too.
      const sure = faces.filter((face) => sideOf(face) >= SURE_SIDE || face.score >= SURE_SCORE);
      return [...sure, ...(await this.atBothScales(image))];
    }
    const boxed: Detection[] = [];
    for (const face of faces) boxed.push(sideOf(face) < ROUGH ? await this.boxedAgain(image, face) : face);
    for (const hint of hints) {
      const strong = hint.score >= (apart(hint) ? LARGE_HINT : BESIDE_HINT);
      if (!strong || faces.some((face) => mostlyInside(hint, face))) continue;
      let again = await this.boxedAgain(image, hint);
      for (let quarters = 1; quarters < 4; quarters++) {
        // What is still not clear may be a rolled face.
        if (again.score < BESIDE_HINT || again.score >= this.threshold || !whole(again.box, image)) break;
        again = await this.boxedAgain(image, again, 90 * quarters);
      }
      if (again.score >= this.threshold) boxed.push(again);
    }
    return boxed;
  }

  /** Return a face with the box that a (rotated) crop of it shows, and the larger score; as it is where that shows none. */
  private async boxedAgain(image: Pixels, face: Detection, rotation = 0): Promise<Detection> {
    const matrix = cropMatrix(face.box, CROP, CROP / FACE_IN_CROP, rotation);
    const back = invert(matrix);
    let best: Detection | undefined;
    let overlap = SAME;
    for (const found of await this.network.detect(enhancePhoto(warp(image, matrix, CROP)), HINT)) {
      const box = mapBox(back, found.box);
      if (iou(box, face.box) > overlap) {
        overlap = iou(box, face.box);
        best = { box, score: Math.max(face.score, found.score) };
      }
    }
    return best ?? face;
  }

  /** Return what is found in the image resized by `scale`. */
  private async detectAt(image: Pixels, scale: number, threshold: number): Promise<Detection[]> {
    if (Math.min(image.width, image.height) * scale < SMALLEST - 0.5) return [];
    const { image: resized, step } = shrink(image, scale);
    const found = await this.network.detect(enhancePhoto(resized), threshold);
    // Resizing keeps the edges of the pixels, and (0, 0) is the centre of one.
    return found.map(({ box, score }) => {
      return { box: box.map((edge, index) => (edge + 0.5) * step[index % 2] - 0.5) as unknown as Box, score };
    });
  }
}

/** Tell whether the image's edge does not cut a box: nine tenths of it and more lie within. */
export function whole(box: Box, { width, height }: Pixels): boolean {
  return shared(box, [-0.5, -0.5, width - 0.5, height - 0.5]) >= WHOLE * area(box);
}

/** Whether more than half of a box lies in another one. */
function mostlyInside({ box }: Detection, { box: other }: Detection): boolean {
  return shared(box, other) > area(box) / 2;
}
