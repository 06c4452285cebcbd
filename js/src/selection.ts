/** Which of the faces found in a photo count: one per place, whatever its roll, and no parts of another face. */

import type { Face } from './face.js';
import { area, iou, shared, tightBox } from './geometry.js';
import { rollAngle } from './roll.js';

const SAME = 0.3; // IoU of two boxes, or of two faces' landmark boxes, from which they are of one face
const DUPLICATE = 0.6; // IoU of two upright faces' landmark boxes from which they are one face, boxed twice
const INSIDE = 0.5; // share of a box within a larger one from which it may be a part of that face
const RISE = 0.2; // by how much a turned face must be more probable than the upright one in its place
/** Degrees of roll from which a quarter turn brings a face nearer to upright; the detector's box is not where it should be. */
export const FAR_ROLL = 45;

/** Return a face's confidence as a whole; 1 where it is not known. */
export function faceConfidence(face: Face): number {
  return face.faceConfidence ?? 1;
}

/**
 * Replace faces by what was found in their place once the photo was turned, if that is clearly more confident.
 *
 * @param faces found in the photo as it is.
 * @param turned found in the turned photo, with all coordinates in the photo as it is.
 */
export function withTurned(faces: readonly Face[], turned: readonly Face[]): Face[] {
  let kept = [...faces];
  const order = [...turned].sort((first, second) => faceConfidence(second) - faceConfidence(first));
  for (const face of order) {
    if (!face.ok) break;
    const rivals = kept.filter((other) => overlap(face, other) > SAME);
    if (rivals.every((other) => beats(face, other))) kept = [...kept.filter((other) => !rivals.includes(other)), face];
  }
  return kept;
}

/**
 * Choose between what was found of a face upright and in other rolls, where the caller says that a face is there: the
 * latter if it is clearly more confident, be it one that cannot be trusted; a covered, blurred face is none the less rolled.
 */
export function better(face: Face, turned: readonly Face[]): Face {
  const best = turned.reduce((first, second) => (faceConfidence(second) > faceConfidence(first) ? second : first));
  return beats(best, face) ? best : face;
}

/**
 * Leave out faces whose landmarks are those of a more confident face, and unsure ones inside a larger face's box.
 *
 * A face that fills the frame is found several times: as a whole, and in parts of itself.
 */
export function withoutParts(faces: readonly Face[]): Face[] {
  return faces.filter((face) => {
    const others = faces.filter((other) => other !== face);
    const duplicate = others.some(
      (other) =>
        faceConfidence(other) > faceConfidence(face) && iou(tightBox(other.points), tightBox(face.points)) > DUPLICATE,
    );
    const inside = (other: Face): boolean => shared(face.box, other.box) > INSIDE * area(face.box);
    return !duplicate && (face.ok || !others.some((other) => area(other.box) > area(face.box) && inside(other)));
  });
}

/** Whether a turned face is clearly more confident; than one that is far from upright itself, at all. */
function beats(turned: Face, face: Face): boolean {
  const rise = Math.abs(rollAngle(face.points, face.markup)) > FAR_ROLL ? 0 : RISE;
  return faceConfidence(turned) > faceConfidence(face) + rise;
}

/** Return the larger IoU of two faces, of their boxes or of their landmarks'. */
function overlap(first: Face, second: Face): number {
  return Math.max(iou(first.box, second.box), iou(tightBox(first.points), tightBox(second.points)));
}
