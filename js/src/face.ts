/** A face that was found: its landmarks, and what can be told from them. */

import type { Box, Point } from './geometry.js';
import { contour, convert, type MarkUp } from './markup.js';
import { headPose, type Pose } from './pose.js';

const TRUSTED = 0.5; // face confidence from which landmarks are more likely right than wrong

/** What a face is made of. */
export interface FaceValues {
  box: Box;
  score: number;
  points: readonly Point[];
  confidence: readonly number[] | null;
  markup: MarkUp;
  faceConfidence: number | null;
  visible: readonly number[] | null;
}

/** A face in a photo. */
export class Face {
  /** x0, y0, x1, y1 in photo pixels, as the detector drew it or the caller gave it. */
  readonly box: Box;
  /** The detector's, in [0, 1]; 1 for a box that the caller gave. */
  readonly score: number;
  /** Landmarks in photo pixels, x and y each; the centre of the top-left pixel is (0, 0). */
  readonly points: readonly Point[];
  /** Per point, in [0, 1], as the model card says; null if the network gives none. */
  readonly confidence: readonly number[] | null;
  /** What the points are. */
  readonly markup: MarkUp;
  /**
   * Probability in [0, 1] that the landmarks are right: that there is a face, and their normalised mean error is at most 10 %;
   * null if the network was not calibrated for that.
   */
  readonly faceConfidence: number | null;
  /** Per point, the probability that it is visible rather than occluded; null if the network did not learn it. */
  readonly visible: readonly number[] | null;
  private cachedPose?: Pose | null;

  constructor({ box, score, points, confidence, markup, faceConfidence, visible }: FaceValues) {
    [this.box, this.score, this.points, this.confidence] = [box, score, points, confidence];
    [this.markup, this.faceConfidence, this.visible] = [markup, faceConfidence, visible];
  }

  /** Whether the landmarks can be trusted: `faceConfidence` is at least 0.5, or not known. */
  get ok(): boolean {
    return this.faceConfidence === null || this.faceConfidence >= TRUSTED;
  }

  /** Which way the head is turned, in degrees; null for a mark-up without the iBUG points. */
  get pose(): Pose | null {
    if (this.cachedPose === undefined) this.cachedPose = headPose(this.points, this.markup);
    return this.cachedPose;
  }

  /** How wide each eye is open, as its aspect ratio: 0 closed, about 0.3 open; left is the image's left. */
  get eyeOpenness(): { left: number; right: number } | null {
    const left = aspectRatio(this, [36, 39], [[37, 41], [38, 40]]);
    const right = aspectRatio(this, [42, 45], [[43, 47], [44, 46]]);
    return left === null || right === null ? null : { left, right };
  }

  /** How wide the mouth is open, as the inner lips' aspect ratio: 0 closed, about 1 as high as wide. */
  get mouthOpenness(): number | null {
    return aspectRatio(this, [60, 64], [[61, 67], [62, 66], [63, 65]]);
  }

  /**
   * Return the points of a part, such as "left eye", in drawing order; `markup.contours` names the parts.
   *
   * @throws InputError if there is no such part.
   */
  part(name: string): Point[] {
    return contour(this.markup, name).points.map((index) => this.points[index]);
  }

  /** Copy the face with some values replaced. */
  with(values: Partial<FaceValues>): Face {
    const { box, score, points, confidence, markup, faceConfidence, visible } = this;
    return new Face({ box, score, points, confidence, markup, faceConfidence, visible, ...values });
  }

  /** Turn the face into plain values for JSON: the keys of Python's `Face.to_dict`, whose `Face.from_dict` reads them. */
  toJSON(): Record<string, unknown> {
    const round = (value: number, digits: number): number => Number(value.toFixed(digits));
    const { pose } = this;
    return {
      box: this.box.map((value) => round(value, 2)),
      score: round(this.score, 4),
      face_confidence: this.faceConfidence === null ? null : round(this.faceConfidence, 4),
      points: this.points.map((point) => point.map((value) => round(value, 2))),
      confidence: this.confidence?.map((value) => round(value, 4)) ?? null,
      visible: this.visible?.map((value) => round(value, 4)) ?? null,
      pose: pose && { yaw: round(pose.yaw, 1), pitch: round(pose.pitch, 1), roll: round(pose.roll, 1) },
    };
  }
}

/** Return the mean distance of pairs of iBUG points over that of the corners; null where that cannot be told. */
function aspectRatio({ points, markup }: Face, corners: readonly number[], lids: readonly number[][]): number | null {
  const ibug = convert(points, markup.name, 'ibug68');
  if (!ibug) return null;
  const distance = ([a, b]: readonly number[]): number => Math.hypot(ibug[a][0] - ibug[b][0], ibug[a][1] - ibug[b][1]);
  const width = distance(corners);
  return width > 0 ? lids.reduce((sum, pair) => sum + distance(pair), 0) / lids.length / width : null;
}
