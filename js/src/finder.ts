/** From an image and boxes to faces: cutting out, the network, and the search for rolled faces. */

import { type Detector, whole } from './detector.js';
import { ModelError } from './errors.js';
import { Face } from './face.js';
import {
  apply,
  area,
  type Box,
  type BoxTransform,
  cropMatrix,
  invert,
  iou,
  mapBox,
  type Matrix,
  rotateBox,
  roundEven,
  side,
  snap,
  square,
  transformBox,
  uprightBox,
} from './geometry.js';
import { calibrated, type LandmarkNetwork } from './model.js';
import { beside, type Pixels, turn, warp } from './pixels.js';
import { recrop } from './recrop.js';
import { rollAngle } from './roll.js';
import { better, FAR_ROLL, faceConfidence, withoutParts, withTurned } from './selection.js';
import type { Detection } from './yunet.js';

// Sides in pixels to which what is turned and searched for rolled faces is resized: a photo at most, and what is about a
// doubtful face, a square of so many times its box's side.
const [PHOTO_SIDE, REGION_SIDE, AROUND] = [640, 96, 2];
const QUARTERS = [1, 2, 3] as const;
// Face confidence of rolled faces that are taken for upright ones: hardly ever the first; from the second on no turned face
// would be clearly more confident.
const [MAYBE_UPRIGHT, SURELY_UPRIGHT] = [0.3, 0.8];
const APART = 0.3; // IoU with a trusted face below which a box in a turned photo may be of another face
// Beside an upright face those that the photo's edge cuts, or that are far behind, are not turned: the least side, in units
// of that face's.
const NEAR = 1 / 3;

/** What boxes that are given hold. */
export type BoxType = 'detector' | 'landmarks';

/** A face that is to be cut out. */
interface Place extends Detection {
  /** Its tight landmark box. */
  readonly tight: Box;
  /** Degrees by which it is rotated, clockwise as seen. */
  readonly roll: number;
  /** Whether `tight` says where the landmarks are; other boxes may be off, as a detector's are. */
  readonly exact: boolean;
}

/** Finds faces and their landmarks in pixels. */
export class FaceFinder {
  /** Whether faces of any roll are searched for. */
  readonly anyRoll: boolean;

  constructor(
    readonly model: LandmarkNetwork,
    readonly detector: Detector,
    private readonly transform: BoxTransform | null,
    anyRoll: boolean,
    readonly minConfidence: number,
  ) {
    this.anyRoll = anyRoll && model.card.faceCalibration !== null; // else nothing tells which roll is right
  }

  /**
   * How the detector's box becomes the network's.
   *
   * @throws ModelError if that is not known.
   */
  get boxTransform(): BoxTransform {
    if (this.transform) return this.transform;
    throw new ModelError(
      `this network of '${this.model.card.markup.name}' has no transform for a face detector's boxes, so it takes boxes of ` +
        "its own kind alone: give boxes and boxType: 'landmarks', or a boxTransform",
    );
  }

  /**
   * Find the faces of an image.
   *
   * @param maxFaces most faces to return, the largest.
   * @returns The faces whose landmarks can be trusted, best score first, or with `maxFaces` largest first.
   * @throws ModelError if how the detector's boxes become the network's is not known.
   */
  async find(image: Pixels, maxFaces = Infinity): Promise<Face[]> {
    const transform = this.boxTransform; // not known is an error in images without faces, too
    let detections = await this.detector.detect(image);
    if (maxFaces < Infinity) detections = [...detections].sort((first, second) => area(second.box) - area(first.box));
    const places = detections.map((found) => ({ ...found, tight: transformBox(found.box, transform), roll: 0, exact: false }));
    let faces = await this.predict(image, places.slice(0, maxFaces));
    if (places.length > maxFaces && !faces.every((face) => face.ok)) {
      faces.push(...(await this.predict(image, places.slice(maxFaces))));
    }
    if (this.anyRoll && (!faces.length || faces.some(doubtful))) {
      faces = withTurned(faces, await this.rolled(image, faces));
    }
    faces = withoutParts(faces).filter((face) => faceConfidence(face) >= this.minConfidence);
    if (maxFaces === Infinity) return faces.sort((first, second) => second.score - first.score);
    return faces.sort((first, second) => area(second.box) - area(first.box)).slice(0, maxFaces);
  }

  /**
   * Find the landmarks of given faces, one for each box.
   *
   * @param boxType what the boxes are.
   * @param rolls degrees by which the faces are rotated; null: not known, so that faces that cannot be trusted upright are
   *   tried in the other quarters of the circle.
   */
  async findIn(image: Pixels, boxes: readonly Box[], boxType: BoxType, rolls: readonly number[] | null): Promise<Face[]> {
    const exact = boxType === 'landmarks';
    const places = boxes.map((box, index) => {
      return { box, score: 1, tight: this.tight(box, boxType), roll: rolls ? rolls[index] : 0, exact };
    });
    const faces = await this.predict(image, places);
    if (rolls || !this.anyRoll) return faces;
    for (const [index, face] of faces.entries()) {
      if (doubtful(face)) faces[index] = await this.inOtherRolls(image, face, boxType);
    }
    return faces;
  }

  /** Return the tight landmark box of a face that is rolled by quarters of a circle. */
  private tight(box: Box, boxType: BoxType, quarters = 0): Box {
    if (boxType === 'landmarks') return box;
    return rotateBox(transformBox(rotateBox(box, -quarters), this.boxTransform), quarters);
  }

  /** Cut faces out, turned upright, and run the network, once more where boxes were off. */
  private async predict(image: Pixels, places: readonly Place[]): Promise<Face[]> {
    const { size, scale, markup, faceCalibration } = this.model.card;
    const matrices = places.map(({ tight, roll, exact }) => cropMatrix(exact ? tight : snap(tight), size, scale, -roll));
    const found = await this.model.predict(matrices.map((matrix) => warp(image, matrix, size)));
    const seen = places.map(({ exact }, index) => ({ matrix: matrices[index], exact, found: found[index] }));
    const crops = await recrop(this.model, image, seen);
    return crops.map(({ matrix, found: { points, confidence, visible } }, index) => {
      const { box, score } = places[index];
      const level = confidence && faceCalibration ? calibrated(faceCalibration, confidence) : null;
      const inPhoto = apply(invert(matrix), points);
      return new Face({ box, score, points: inPhoto, confidence, markup, faceConfidence: level, visible });
    });
  }

  /**
   * Return what is found in a photo once it is turned by one, two and three quarters of a circle.
   *
   * What is about the faces that are not surely upright is turned first; beside an upright face only if they are whole and
   * not far behind. The whole photo is if no face is upright, or may be.
   */
  private async rolled(image: Pixels, faces: readonly Face[]): Promise<Face[]> {
    const trusted = faces.filter((face) => !doubtful(face)).map(({ box }) => box);
    const found: { quarters: number; face: Face }[] = [];
    const photo: Box = [-0.5, -0.5, image.width - 0.5, image.height - 0.5];
    const least = NEAR * Math.max(0, ...trusted.map(side));
    for (const { box } of faces.filter(doubtful)) {
      if (trusted.length && (side(box) < least || !whole(box, image))) continue;
      found.push(...(await this.turned(image, square(box, AROUND), REGION_SIDE, trusted, QUARTERS, true)));
    }
    const sure = [...new Set(found.filter(({ face }) => face.ok).map(({ quarters }) => quarters))].sort();
    if (!trusted.length && (sure.length || !faces.some((face) => faceConfidence(face) >= MAYBE_UPRIGHT))) {
      const pixels = Math.min(PHOTO_SIDE, Math.max(image.width, image.height));
      for (const quarters of sure.length ? sure : QUARTERS) {
        found.push(...(await this.turned(image, square(photo), pixels, trusted, [quarters], false)));
      }
    }
    return found.map(({ face }) => face);
  }

  /** Search a square region of a photo, turned and resized. Boxes that are of `trusted` faces are left aside. */
  private async turned(
    image: Pixels,
    region: Box,
    side: number,
    trusted: readonly Box[],
    turns: readonly number[],
    once: boolean,
  ): Promise<{ quarters: number; face: Face }[]> {
    const upright = warp(image, cropMatrix(region, side), side);
    const { detector } = this;
    // One call of the detector for all turns: beside each other they are one image.
    const all = beside(turns.map((quarters) => turn(upright, quarters)));
    const detections = await (once && detector.detectOnce ? detector.detectOnce(all) : detector.detect(all));
    const found: { quarters: number; place: Place }[] = [];
    for (const { box: [x0, y0, x1, y1], score } of detections) {
      const tile = Math.min(Math.max(Math.floor(((x0 + x1) / 2 + 0.5) / side), 0), turns.length - 1);
      const quarters = turns[tile];
      const back: Matrix = invert(cropMatrix(region, side, 1, -90 * quarters));
      const inTile: Box = [x0 - tile * side, y0, x1 - tile * side, y1];
      const box = mapBox(back, inTile);
      const tight = mapBox(back, transformBox(inTile, this.boxTransform));
      if (trusted.some((other) => iou(box, other) >= APART)) continue;
      found.push({ quarters, place: { box, score, tight, roll: 90 * quarters, exact: false } });
    }
    const faces = await this.predict(image, found.map(({ place }) => place));
    return faces.map((face, index) => ({ quarters: found[index].quarters, face }));
  }

  /** Try a face of a given box that is not surely upright in the other quarters of the circle. */
  private async inOtherRolls(image: Pixels, face: Face, boxType: BoxType): Promise<Face> {
    const { box, markup } = face;
    const exact = boxType === 'landmarks';
    const places = QUARTERS.map((quarters) => {
      return { box, score: 1, tight: this.tight(box, boxType, quarters), roll: 90 * quarters, exact };
    });
    const tries = await this.predict(image, places);
    const best = tries.reduce((first, second) => (faceConfidence(second) > faceConfidence(first) ? second : first));
    if (markup.crop === 'face') return better(face, [best]);
    const roll = roundEven(rollAngle(best.points, markup)); // cut out once more by the landmarks that were found
    const place = { box, score: 1, tight: snap(uprightBox(best.points, roll)), roll, exact: true };
    const again = await this.predict(image, [place]);
    return better(face, [best, ...again]);
  }
}

/** Whether a face that was taken for an upright one may be a rolled one. */
function doubtful(face: Face): boolean {
  return faceConfidence(face) < SURELY_UPRIGHT || Math.abs(rollAngle(face.points, face.markup)) > FAR_ROLL;
}
