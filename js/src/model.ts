/** A landmark network: crops in, points and confidence out. */

import type { Engine, Network } from './engine.js';
import { enhanceCrop } from './enhance.js';
import { ModelError } from './errors.js';
import { apply, type BoxTransform, cropMatrix, invert, type Point, roundEven, snap, uprightBox } from './geometry.js';
import { type MarkUp, readMarkUp } from './markup.js';
import { type Pixels, warp } from './pixels.js';
import { MAX_ROLL, rollAngle } from './roll.js';
import { split } from './tflite.js';

const PASSES = 3; // at most: the roll that the first one finds of a face rotated by 60 degrees can be 20 degrees off

/** How the mean confidence of a face's points becomes the probability that they are right: a logistic curve. */
export interface FaceCalibration {
  readonly middle: number;
  readonly slope: number;
}

/** What one needs to know to run a network, and to trust it. */
export interface ModelCard {
  readonly name: string;
  readonly markup: MarkUp;
  /** Side of the square input, in pixels. */
  readonly size: number;
  /** Side of the crop, in units of the tight landmark box's larger side. */
  readonly scale: number;
  /** How a face detector's box becomes the tight landmark box; null: boxes are taken as they are. */
  readonly boxTransform: BoxTransform | null;
  /** One sentence on what the per-point confidence means; null: the network gives none. */
  readonly confidence: string | null;
  /** Null: it was not fitted. */
  readonly faceCalibration: FaceCalibration | null;
  /** The data it was trained on, and the terms of each. */
  readonly data: readonly { name: string; terms: string }[];
}

/** What a network finds in a crop. */
export interface Prediction {
  /** In pixels of the crop. */
  points: Point[];
  /** Per point, in [0, 1]. */
  confidence: number[] | null;
  /** Per point, the probability that it is visible rather than occluded. */
  visible: number[] | null;
}

/**
 * Read a model card.
 *
 * @throws ModelError if it is none.
 */
export function readCard(values: unknown): ModelCard {
  const card = values as Record<string, any>;
  const { size, scale } = card?.input ?? {};
  if (!(size >= 1) || !(scale > 0)) throw new ModelError('the model card has no input size; export the network again');
  const transform = card.box_transform;
  return {
    name: String(card.name),
    markup: readMarkUp(card.markup),
    size,
    scale,
    boxTransform: transform ? { scale: transform.scale, shiftX: transform.shift_x, shiftY: transform.shift_y } : null,
    confidence: card.confidence ?? null,
    faceCalibration: card.face_calibration ?? null,
    data: card.data ?? [],
  };
}

/** A landmark network that `facekd export` wrote. */
export class LandmarkNetwork {
  private constructor(
    /** Its model card. */
    readonly card: ModelCard,
    private readonly network: Network,
  ) {}

  /**
   * Make a network ready to run.
   *
   * @param file the .tflite file.
   * @param name what errors call it.
   * @throws ModelError if the file holds no model card, or is no landmark network.
   */
  static async load(engine: Engine, file: Uint8Array<ArrayBuffer>, name: string): Promise<LandmarkNetwork> {
    const parts = await split(file, name);
    const card = readCard(parts.card);
    const network = await engine.network(parts.network);
    const [, ...input] = network.inputShape;
    const points = network.outputShapes.points?.slice(1);
    if (`${input}` !== `${[card.size, card.size, 3]}` || `${points}` !== `${[card.markup.count, 2]}`) {
      network.delete();
      throw new ModelError(`${name} is not the landmark network that its card describes; export it again`);
    }
    return new LandmarkNetwork(card, network);
  }

  /**
   * Find the landmarks in crops: those that are pale, dark, noisy or blurred are enhanced first. Those of rotated faces are
   * turned upright and seen again; the more confident result counts.
   *
   * @param crops of `card.size` pixels.
   */
  async predict(crops: readonly Pixels[]): Promise<Prediction[]> {
    const { markup, scale, size } = this.card;
    const images = crops.map(enhanceCrop);
    const found = await this.predictOnce(images);
    const turned = found.map(() => 0); // degrees by which each face's crop was turned
    for (let pass = 1; pass < PASSES; pass++) {
      const rows: number[] = [];
      found.forEach(({ points }, row) => {
        const roll = rollAngle(points, markup);
        const rest = (((roll - turned[row] + 180) % 360) + 360) % 360 - 180;
        if (!(Math.abs(rest) > MAX_ROLL)) return;
        turned[row] = roundEven(roll);
        rows.push(row);
      });
      if (!rows.length) break;
      const boxes = rows.map((row) => snap(uprightBox(found[row].points, turned[row])));
      const matrices = rows.map((row, index) => cropMatrix(boxes[index], size, scale, -turned[row]));
      const again = await this.predictOnce(rows.map((row, index) => warp(images[row], matrices[index], size)));
      rows.forEach((row, index) => {
        const { confidence } = again[index];
        if (confidence && !(mean(confidence) > mean(found[row].confidence!))) return;
        found[row] = { ...again[index], points: apply(invert(matrices[index]), again[index].points) };
      });
    }
    return found;
  }

  /** Give the memory back. */
  delete(): void {
    this.network.delete();
  }

  /** Find the landmarks in crops by one pass of the network, however the faces are rotated. */
  private async predictOnce(images: readonly Pixels[]): Promise<Prediction[]> {
    const { size, markup } = this.card;
    const [batch] = this.network.inputShape;
    const length = size * size * 3;
    const found: Prediction[] = [];
    for (let start = 0; start < images.length; start += batch) {
      const crops = new Uint8Array(batch * length); // the file takes exactly so many: the last ones are filled up
      const several = images.slice(start, start + batch);
      several.forEach(({ data }, index) => crops.set(data, index * length));
      const { points, confidence, visible } = await this.network.run(crops);
      several.forEach((_, index) => {
        const first = index * markup.count;
        const row = (_item: unknown, point: number): Point => [points[2 * (first + point)], points[2 * (first + point) + 1]];
        const part = (values?: Float32Array) => (values ? [...values.subarray(first, first + markup.count)] : null);
        const ofPoints = Array.from({ length: markup.count }, row);
        found.push({ points: ofPoints, confidence: part(confidence), visible: part(visible) });
      });
    }
    return found;
  }
}

/** Return the probability that landmarks are right: of a face, and with a normalised mean error of at most 10 %. */
export function calibrated({ middle, slope }: FaceCalibration, confidence: readonly number[]): number {
  return 1 / (1 + Math.exp(-slope * (mean(confidence) - middle)));
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
