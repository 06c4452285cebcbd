/**
 * The network of YuNet: an image in, boxes and scores out.
 *
 * Source: Wu et al., "YuNet: A tiny millisecond-level face detector", Machine Intelligence Research 2023. The file is
 * made from https://github.com/opencv/opencv_zoo (MIT licence) by `facekd.exporters.yunet_litert`.
 */

import type { Engine, Network } from './engine.js';
import { ModelError } from './errors.js';
import { area, type Box, shared } from './geometry.js';
import type { Pixels } from './pixels.js';
import { withSize } from './tflite.js';

const OVERLAP = 0.3; // IoU above which two boxes are one face, as in OpenCV's sample
const STRIDES = [8, 16, 32] as const;
const MULTIPLE = 32; // of which sides must be multiples: the largest stride
const VALUES = 16; // per anchor: two scores, four values of the box, five points
const NETWORKS = 8; // sizes of images whose networks are kept

/** A face that was found. */
export interface Detection {
  /** In pixels of the image, beyond which it may reach. */
  readonly box: Box;
  /** In [0, 1]. */
  readonly score: number;
}

/** YuNet at one scale: finds faces of about 10 px to 300 px. */
export class YuNetNetwork {
  private readonly networks = new Map<string, Network>(); // by size, the one used last at the end
  private last: Promise<unknown> = Promise.resolve(); // one image at a time: a network must not be given back while it runs

  private constructor(
    private readonly engine: Engine,
    private readonly file: Uint8Array<ArrayBuffer>,
  ) {}

  /**
   * Check the network's file.
   *
   * @param file the package's models/yunet.tflite.
   * @throws ModelError if it is another.
   */
  static async load(engine: Engine, file: Uint8Array<ArrayBuffer>): Promise<YuNetNetwork> {
    const network = await engine.network(withSize(file, 1, 1));
    const outputs = STRIDES.every((stride) => `${network.outputShapes[`stride${stride}`]?.[3]}` === `${VALUES}`);
    network.delete();
    if (!outputs) throw new ModelError("the face detector's file is not the package's models/yunet.tflite; serve that one");
    return new YuNetNetwork(engine, file);
  }

  /**
   * Find faces.
   *
   * @param threshold lowest score that counts as a face, in [0, 1].
   * @returns Best first.
   */
  detect(image: Pixels, threshold: number): Promise<Detection[]> {
    const found = this.last.then(() => this.run(image, threshold));
    this.last = found.catch(() => {});
    return found;
  }

  /** Give the memory back. */
  delete(): void {
    for (const network of this.networks.values()) network.delete();
    this.networks.clear();
  }

  private async run(image: Pixels, threshold: number): Promise<Detection[]> {
    const [columns, rows] = [image.width, image.height].map((side) => Math.ceil(side / MULTIPLE));
    const network = await this.network(rows, columns);
    const maps = await network.run(padded(image, rows * MULTIPLE, columns * MULTIPLE));
    return decode(STRIDES.map((stride) => maps[`stride${stride}`]), columns * MULTIPLE, threshold);
  }

  private async network(rows: number, columns: number): Promise<Network> {
    const size = `${rows}x${columns}`;
    const network = this.networks.get(size) ?? (await this.engine.network(withSize(this.file, rows, columns)));
    this.networks.delete(size);
    this.networks.set(size, network);
    if (this.networks.size > NETWORKS) {
      const [[oldest, unused]] = this.networks;
      this.networks.delete(oldest);
      unused.delete();
    }
    return network;
  }
}

/** Return the image's values, black to the right of and below what it shows, as OpenCV pads it. */
function padded({ data, width, height, channels }: Pixels, rows: number, columns: number): Float32Array {
  const values = new Float32Array(rows * columns * 3);
  for (let y = 0, from = 0; y < height; y++) {
    let to = y * columns * 3;
    for (let x = 0; x < width; x++, from += channels, to += 3) {
      values[to] = data[from];
      values[to + 1] = data[from + 1];
      values[to + 2] = data[from + 2];
    }
  }
  return values;
}

/**
 * Turn the network's maps of an image into boxes.
 *
 * @param maps per stride, pixel by pixel and row by row, the 16 values of each anchor; scores before the sigmoid.
 * @param width of the image, in pixels.
 * @param threshold lowest score that counts as a face, in [0, 1].
 * @returns Best first; of boxes of one face the best.
 */
export function decode(maps: readonly Float32Array[], width: number, threshold: number): Detection[] {
  const found: Detection[] = [];
  maps.forEach((map, level) => {
    const stride = STRIDES[level];
    for (let start = 0, anchor = 0; start < map.length; start += VALUES, anchor++) {
      const score = Math.sqrt(sigmoid(map[start]) * sigmoid(map[start + 1]));
      if (!(score >= threshold)) continue;
      const columns = width / stride;
      const wide = Math.exp(map[start + 4]) * stride;
      const high = Math.exp(map[start + 5]) * stride;
      const x0 = (map[start + 2] + (anchor % columns)) * stride - wide / 2;
      const y0 = (map[start + 3] + Math.floor(anchor / columns)) * stride - high / 2;
      const box: Box = [x0, y0, x0 + wide, y0 + high];
      if (box.every(Number.isFinite) && wide > 0 && high > 0) found.push({ box, score });
    }
  });
  // OpenCV compares boxes of whole pixels, cut off; so the same faces are kept.
  const whole = found.map(({ box: [x0, y0, x1, y1], score }) => {
    const [left, top] = [Math.trunc(x0), Math.trunc(y0)];
    return { box: [left, top, left + Math.trunc(x1 - x0), top + Math.trunc(y1 - y0)] as Box, score };
  });
  return withoutRepeats(whole).map((index) => found[index]);
}

function sigmoid(value: number): number {
  return 1 / (1 + Math.exp(-value));
}

/**
 * Find the boxes that overlap with no better one (greedy non-maximum suppression).
 *
 * @returns Indices of those to keep, best first.
 */
export function withoutRepeats(found: readonly Detection[]): number[] {
  const kept: number[] = [];
  const order = found.map((_, index) => index).sort((a, b) => found[b].score - found[a].score);
  for (const index of order) {
    const { box } = found[index];
    const repeats = (other: number): boolean => {
      const both = shared(box, found[other].box);
      return both > OVERLAP * (area(box) + area(found[other].box) - both);
    };
    if (!kept.some(repeats)) kept.push(index);
  }
  return kept;
}
