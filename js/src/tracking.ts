/** Faces over time: stable ids, boxes from the last frame's landmarks, points that do not shake. */

import { faceChip, isCut, lookAlike, thumbnail } from './cuts.js';
import { InputError, ModelError } from './errors.js';
import type { Face } from './face.js';
import { type Box, type BoxTransform, iou, type Point, side, square, transformBox, uprightBox } from './geometry.js';
import type { Landmarker } from './landmarker.js';
import { mean } from './model.js';
import { type ImageSource, type Pixels, readPixels } from './pixels.js';
import { rollAngle } from './roll.js';
import { OneEuro, type Smoothing, SMOOTHING } from './smoothing.js';

const SAME = 0.3; // IoU above which two boxes are one face
const LONE = 0.5; // IoU above which two tracks have run onto one face
const MISSES = 3; // runs of the detector after which landmarks that it does not confirm are no face
const JUMP = 0.35; // IoU of a face with itself a frame earlier below which its points are rejected
const ROLLED = 45; // degrees of roll from which the detector, which looks for upright faces, need not confirm a face
const REACH = 3; // times its size: how far about a lost face a box is taken to be the same face, if it can be no other

/** A face that is followed. */
interface Track {
  id: number;
  filter: OneEuro;
  box: Box; // where to cut: square, holds the last landmarks tightly once turned upright
  roll: number; // degrees, of the last frame
  face: Face | null; // with the landmarks of the last frame; null: they were rejected, the face is lost
  score: number;
  seen: number; // when landmarks were last accepted or the detector last found the face
  misses: number; // runs of the detector in a row that did not find it
  chip: Float32Array | null; // the face as last seen
  cut: boolean; // whether there was a cut since then
}

/** A face of a frame and the number it keeps from frame to frame. */
export interface TrackedFace {
  /** Counts from 0 in order of appearance; a face that is lost for less than `patience` keeps its number. */
  readonly id: number;
  /** With smoothed points; its box is square and holds the points as found, once turned upright. */
  readonly face: Face;
  /** The points as the network found them. */
  readonly raw: readonly Point[];
}

/** Settings of `Tracker`. */
export interface TrackerOptions {
  /** Frames from one detection to the next; default 10. */
  every?: number;
  /** Mean confidence below which landmarks are rejected, in [0, 1]; default 0.3. */
  confidence?: number;
  /** Seconds for which a lost face keeps its number; default 1. */
  patience?: number;
  /** Settings of the One-Euro filter; null: no filter. */
  smoothing?: Smoothing | null;
}

/**
 * Follows the faces of a video.
 *
 * The detector runs on the first frame, every `every` frames, while no face is followed, and when a face's landmarks are
 * rejected: their mean confidence falls below `confidence`, or they jump or collapse. While no face is followed, frames are
 * also searched for rolled faces, every `every` frames, unless the landmarker's `roll` is "upright". After a cut, a face that
 * does not look like the one before it gets a new number.
 */
export class Tracker {
  readonly every: number;
  readonly confidence: number;
  readonly patience: number;
  readonly smoothing: Smoothing | null;
  private readonly transform: BoxTransform;
  private tracks: Track[] = [];
  private ids = 0;
  private sinceDetection: number;
  private sinceSearch: number;
  private thumbnail: Uint8Array | null = null; // of the last frame

  /**
   * @param landmarker finds landmarks; its detector finds faces. For video `yunet: { size: 640 }` is enough.
   * @throws InputError if a setting is out of range.
   * @throws ModelError if the network's mark-up says `crop: face`, or its transform of detected boxes is not known.
   */
  constructor(
    private readonly landmarker: Landmarker,
    { every = 10, confidence = 0.3, patience = 1, smoothing = SMOOTHING }: TrackerOptions = {},
  ) {
    if (!(every >= 1)) throw new InputError(`every must be 1 or more, got ${every}`);
    if (!(confidence >= 0 && confidence <= 1)) throw new InputError(`confidence must be within 0 and 1, got ${confidence}`);
    if (!(patience >= 0)) throw new InputError(`patience must be 0 seconds or more, got ${patience}`);
    if (smoothing) new OneEuro(smoothing); // it knows what they may be
    const { markup } = landmarker.card;
    if (markup.crop === 'face') {
      throw new ModelError(
        `a network of '${markup.name}' cannot follow faces: it cuts them out by the face's box (crop: face), which its points ` +
          'do not give; run Landmarker.detect on each frame',
      );
    }
    this.transform = landmarker.boxTransform;
    [this.every, this.confidence, this.patience, this.smoothing] = [every, confidence, patience, smoothing];
    this.sinceDetection = this.sinceSearch = every;
  }

  /**
   * Find the faces of the next frame. Wait for the answer before the next call.
   *
   * @param time of the frame in seconds; later than the last one's.
   * @returns The faces in view, oldest first.
   * @throws InputError if the frame cannot be read, or `time` is not a number of seconds.
   */
  async update(image: ImageSource, time: number): Promise<TrackedFace[]> {
    if (!Number.isFinite(time)) throw new InputError(`the time of a frame must be a number of seconds, got ${time}`);
    const frame = readPixels(image);
    this.sinceDetection++;
    this.sinceSearch++;
    this.noticeCut(frame);
    this.tracks = this.tracks.filter((track) => track.face || time - track.seen <= this.patience);
    const followed = this.tracks.filter((track) => track.face);
    await this.findLandmarks(frame, time, followed);
    if (this.sinceDetection >= this.every || !followed.length || !followed.every((track) => track.face)) {
      const { tracks, boxes } = await this.detect(frame, time);
      await this.findLandmarks(frame, time, tracks, boxes);
    }
    const lost = !this.tracks.some((track) => track.face);
    if (lost && this.landmarker.roll === 'any' && this.sinceSearch >= this.every) {
      await this.findLandmarks(frame, time, await this.search(frame, time));
    }
    const seen = this.tracks.filter((track) => track.face);
    for (const track of seen) this.renumber(track, frame);
    return seen.map((track) => this.smoothed(track, track.face!, time));
  }

  /** Compare a frame with the one before. */
  private noticeCut(frame: Pixels): void {
    const before = this.thumbnail;
    this.thumbnail = thumbnail(frame);
    if (before && isCut(before, this.thumbnail)) for (const track of this.tracks) track.cut = true;
  }

  /** Give a track that another face has taken over at a cut a new number. */
  private renumber(track: Track, frame: Pixels): void {
    const chip = faceChip(frame, track.box, track.roll);
    if (track.cut && track.chip && !lookAlike(track.chip, chip)) {
      track.id = this.ids++;
      track.filter = new OneEuro(this.smoothing ?? SMOOTHING);
    }
    [track.chip, track.cut] = [chip, false];
  }

  /** Find the landmarks of tracks where their boxes are, or in a detector's boxes, which may be off. */
  private async findLandmarks(
    frame: Pixels,
    time: number,
    tracks: readonly Track[],
    detected: readonly Box[] | null = null,
  ): Promise<void> {
    if (!tracks.length) return;
    const boxes = detected ?? tracks.map((track) => track.box);
    // Each face is turned upright by its roll of a frame ago: one pass is enough, and two do not flicker.
    const rolls = tracks.map((track) => track.roll);
    const boxType = detected ? 'detector' : 'landmarks';
    const faces = await this.landmarker.detect(frame, { boxes, boxType, roll: rolls });
    tracks.forEach((track, index) => {
      const face = faces[index];
      const roll = rollAngle(face.points, face.markup);
      const box = uprightBox(face.points, roll);
      track.face = null;
      if (this.accepted(track, face, box)) Object.assign(track, { face, box, roll, seen: time });
    });
  }

  /** Run the detector on the whole frame; returns tracks whose landmarks are to be found, and its boxes of them. */
  private async detect(frame: Pixels, time: number): Promise<{ tracks: Track[]; boxes: Box[] }> {
    this.sinceDetection = 0;
    const found = await this.landmarker.detectBoxes(frame);
    const boxes = found.map(({ box }) => transformBox(box, this.transform));
    const owners = this.owners(boxes);
    const lost: { tracks: Track[]; boxes: Box[] } = { tracks: [], boxes: [] };
    for (const track of this.tracks) track.misses++;
    boxes.forEach((box, index) => {
      const track = owners.get(index) ?? this.started(box);
      Object.assign(track, { score: found[index].score, seen: time, misses: 0 });
      if (track.face) return;
      Object.assign(track, { box, roll: 0 });
      lost.tracks.push(track);
      lost.boxes.push(found[index].box);
    });
    for (const track of this.tracks) if (track.misses >= MISSES && Math.abs(track.roll) < ROLLED) track.face = null;
    return lost;
  }

  /** Search the frame for faces of any roll; returns their tracks, whose landmarks are to be found. */
  private async search(frame: Pixels, time: number): Promise<Track[]> {
    this.sinceSearch = 0;
    const faces = await this.landmarker.detect(frame);
    const rolls = faces.map((face) => rollAngle(face.points, face.markup));
    const boxes = faces.map((face, index) => uprightBox(face.points, rolls[index]));
    const owners = this.owners(boxes);
    return boxes.map((box, index) => {
      const track = owners.get(index) ?? this.started(box);
      return Object.assign(track, { box, roll: rolls[index], score: faces[index].score, seen: time, misses: 0 });
    });
  }

  /** Start a track with a number of its own. */
  private started(box: Box): Track {
    const filter = new OneEuro(this.smoothing ?? SMOOTHING);
    const rest = { roll: 0, face: null, score: 0, seen: 0, misses: 0, chip: null, cut: false };
    const track: Track = { id: this.ids++, filter, box, ...rest };
    this.tracks.push(track);
    return track;
  }

  /** Return the tracks that detected boxes belong to, by the boxes' indices. */
  private owners(boxes: readonly Box[]): Map<number, Track> {
    const owners = new Map<number, Track>();
    const pairs = this.tracks.flatMap((track) => boxes.map((box, index) => ({ track, index, overlap: overlap(track.box, box) })));
    const taken = new Set<Track>();
    pairs.sort((first, second) => second.overlap - first.overlap); // the best pairs first
    for (const { track, index, overlap: share } of pairs) {
      if (!(share > SAME) || taken.has(track) || owners.has(index)) continue;
      owners.set(index, track);
      taken.add(track);
    }
    // A face that moved too far for that keeps its number where only one is lost and one box is without a track.
    const lost = this.tracks.filter((track) => !track.face && !taken.has(track));
    const free = boxes.map((_, index) => index).filter((index) => !owners.has(index));
    const near = (track: Track, index: number): boolean => overlap(track.box, boxes[index], REACH) > SAME;
    const matches = lost.flatMap((track) => free.filter((index) => near(track, index)).map((index) => ({ track, index })));
    for (const { track, index } of matches) {
      const others = matches.filter((other) => other.track === track || other.index === index);
      if (others.length === 1) owners.set(index, track);
    }
    return owners;
  }

  /** Whether landmarks show the face that the track followed. */
  private accepted(track: Track, face: Face, box: Box): boolean {
    if (face.confidence && !(mean(face.confidence) >= this.confidence)) return false;
    if (!(iou(box, track.box) >= JUMP)) return false; // also when a point is not finite
    return this.tracks.every((other) => !(other.id < track.id && other.face) || iou(box, other.box) < LONE);
  }

  private smoothed(track: Track, face: Face, time: number): TrackedFace {
    const points = this.smoothing ? track.filter.filter(face.points, time, side(track.box)) : face.points;
    return { id: track.id, face: face.with({ points, score: track.score, box: track.box }), raw: face.points };
  }
}

/** Return the IoU of two boxes, each as a square of `scale` times its size. */
function overlap(first: Box, second: Box, scale = 1): number {
  return iou(square(first, scale), square(second, scale));
}
