/** What the points of a face are: their parts, and conversions between mark-ups. */

import { InputError, ModelError } from './errors.js';
import type { Point } from './geometry.js';

/** A polyline through points of a mark-up. */
export interface Contour {
  /** Such as "left eye"; left is the image's left. */
  readonly name: string;
  /** Indices of the points in drawing order, from 0. */
  readonly points: readonly number[];
  /** Whether the last point is joined to the first. */
  readonly closed: boolean;
}

/** What N points mean, as a model card says it. */
export interface MarkUp {
  /** Such as "ibug68". */
  readonly name: string;
  /** N. */
  readonly count: number;
  /** Point i of a mirrored photo is point mirror[i] of the photo. */
  readonly mirror: readonly number[];
  readonly contours: readonly Contour[];
  /** Groups of points whose means are the outer eye corners; null if there are none. */
  readonly interOcular: readonly [readonly number[], readonly number[]] | null;
  /** The same for the pupils. */
  readonly interPupil: readonly [readonly number[], readonly number[]] | null;
  /**
   * What faces are cut out by: "points", their tight box; or "face", the box of the whole face, for points too few or
   * too near to each other to say where the face is.
   */
  readonly crop: 'points' | 'face';
}

/**
 * Read a mark-up of a model card.
 *
 * @throws ModelError if it is none.
 */
export function readMarkUp(values: unknown): MarkUp {
  const card = values as Record<string, any>;
  const contours = card?.contours ?? [];
  if (typeof card?.name !== 'string' || !(card.count >= 1) || !Array.isArray(card.mirror) || !Array.isArray(contours)) {
    throw new ModelError('the model card has no mark-up; export the network again');
  }
  const { name, count, mirror, inter_ocular: interOcular = null, inter_pupil: interPupil = null } = card;
  const crop = card.crop ?? 'points'; // cards say it only where it is not that
  return { name, count, mirror, contours, interOcular, interPupil, crop };
}

/**
 * Find a part of the face.
 *
 * @throws InputError if the mark-up has no part of that name.
 */
export function contour(markup: MarkUp, name: string): Contour {
  const found = markup.contours.find((part) => part.name === name);
  if (found) return found;
  const names = markup.contours.map((part) => part.name).join(', ');
  throw new InputError(`mark-up '${markup.name}' has no part '${name}'; it has ${names}`);
}

type Group = readonly number[];
const run = (first: number, last: number, step = 1): Group[] => {
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, index) => [first + step * index]);
};

// Each point is the mean of a group of points of the other mark-up.
const STEPS: Record<string, { target: string; groups: Group[] }> = {
  wflw98: {
    target: 'ibug68',
    groups: [
      ...run(0, 32, 2), // every second jaw point
      ...run(33, 37), // upper edges of the brows
      ...run(42, 46),
      ...run(51, 59), // nose
      ...[60, 61, 63, 64, 65, 67].map((index) => [index]), // eyes: without the points above and below the pupil
      ...[68, 69, 71, 72, 73, 75].map((index) => [index]),
      ...run(76, 95), // lips
    ],
  },
  ibug68: { target: 'five5', groups: [run(36, 41).flat(), run(42, 47).flat(), [30], [48], [54]] },
  cofw29: { target: 'five5', groups: [[16], [17], [20], [22], [23]] },
};

/**
 * Convert points from one mark-up to another: 98 -> 68 -> 5, or 29 -> 5.
 *
 * @param source name of the mark-up that they have.
 * @param target name of the one that they should have.
 * @returns The points; null where there is no way.
 */
export function convert(points: readonly Point[], source: string, target: string): readonly Point[] | null {
  if (source === target) return points;
  const step = STEPS[source];
  if (!step) return null;
  const next = step.groups.map((group): Point => {
    const sum = (axis: 0 | 1): number => group.reduce((total, index) => total + points[index][axis], 0);
    return [sum(0) / group.length, sum(1) / group.length];
  });
  return convert(next, step.target, target);
}
