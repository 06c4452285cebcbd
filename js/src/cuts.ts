/** Cuts between the scenes of a video: a face before one and a face after it may be two people at the same place. */

import { type Box, cropMatrix } from './geometry.js';
import { average, type Pixels, sample } from './pixels.js';

const SIDE = 32; // pixels of thumbnails and of chips
const FACTOR = 4; // they are averaged from images of so many times the side
// Frames up to a second apart without a cut differ by 25 at most, photos of different places by 45 and more (mean over all
// pixels and channels of 8 bits).
const CHANGED = 32;
const ALIKE = 0.75; // correlation: of one face 80 ms apart 0.88 and more, of pairs of people 99.9 % below 0.74

/** Shrink a frame to what tells a cut. */
export function thumbnail({ data, width, height, channels }: Pixels): Uint8Array {
  const side = SIDE * FACTOR;
  const small = new Uint8Array(side * side * 3);
  for (let y = 0, to = 0; y < side; y++) {
    const row = Math.floor((y * height) / side) * width;
    for (let x = 0; x < side; x++, to += 3) {
      const from = (row + Math.floor((x * width) / side)) * channels;
      for (let channel = 0; channel < 3; channel++) small[to + channel] = data[from + channel];
    }
  }
  return quarter({ data: small, width: side, height: side, channels: 3 });
}

/** Tell whether the picture as a whole has changed between two thumbnails, as at a cut or a flash. */
export function isCut(before: Uint8Array, after: Uint8Array): boolean {
  return after.reduce((sum, value, index) => sum + Math.abs(value - before[index]), 0) / after.length > CHANGED;
}

/**
 * Cut out a face to compare it with: grey, upright, 32 pixels wide.
 *
 * @param box square, holds the landmarks once turned upright.
 * @param roll degrees of the face.
 */
export function faceChip(frame: Pixels, box: Box, roll: number): Float32Array {
  const side = SIDE * FACTOR;
  const chip = quarter(sample(frame, cropMatrix(box, side, 1, -roll), side));
  return Float32Array.from({ length: SIDE * SIDE }, (_, pixel) => {
    return (chip[3 * pixel] + chip[3 * pixel + 1] + chip[3 * pixel + 2]) / 3;
  });
}

/** Tell whether two chips show the same face a moment apart. Brightness and contrast do not count. */
export function lookAlike(first: Float32Array, second: Float32Array): boolean {
  const centred = (chip: Float32Array): Float32Array => {
    const mean = chip.reduce((sum, value) => sum + value, 0) / chip.length;
    return chip.map((value) => value - mean);
  };
  const [a, b] = [centred(first), centred(second)];
  const product = (p: Float32Array, q: Float32Array): number => p.reduce((sum, value, index) => sum + value * q[index], 0);
  const norm = Math.sqrt(product(a, a) * product(b, b));
  return norm === 0 || product(a, b) / norm > ALIKE;
}

function quarter(image: Pixels): Uint8Array {
  return average(image, 0, 0, SIDE, SIDE, FACTOR, FACTOR).data as Uint8Array;
}
