/**
 * Image enhancement before a network: contrast stretched, noise smoothed, blur sharpened, each as far as it is needed.
 *
 * The same as `facekd.runtime.enhance` of the Python package, which says where the numbers come from.
 */

import { roundEven } from './geometry.js';
import type { Pixels } from './pixels.js';

const [CONTRAST, CUT] = [128, 0.01]; // levels from the darkest to the lightest hundredth of a crop; fewer are stretched
const MAX_GAIN = 16; // with less contrast than that needs there is nothing but noise
const [NOISE, SIGMA_PER_LEVEL, MAX_SIGMA] = [3, 0.4, 1.4]; // levels that are not smoothed; pixels per level beyond; pixels
const MIN_SIGMA = 0.3; // pixels; a narrower Gaussian changes nothing
const [SIDE, LARGE] = [112, 160]; // pixels of a crop, of which the sigmas are; from which on it is halved to be measured
const [BANDS, SHARP] = [[0.8, 1.6, 3.2], 0.5]; // detail over structure: deviations between blurs, those of a sharp crop
const BLURRED = 0.8; // levels of noise that a blurred crop does not have
const [UNSHARP_PER_RATIO, SIDE_PER_WIDTH] = [18, 12]; // a crop's side over the width of what it is blurred by, twice

/** A grey image. */
interface Plane {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/**
 * Stretch the contrast of an image in which faces are searched, and smooth its noise, as far as that is needed.
 *
 * @param image at the size at which it is searched; black counts as no part of it.
 * @returns The image itself if nothing was.
 */
export function enhancePhoto(image: Pixels): Pixels {
  const grey = greyOf(image);
  // A face may be a thousandth of a photo, so that all of it counts, but for single pixels.
  const { levels, gain } = stretching(halved(grey), 0);
  return smoothed(gain === 1 ? image : mapped(image, levels), sigmaOf(gain * noiseOf(grey)));
}

/**
 * Stretch the contrast of a crop of a face, smooth its noise, and sharpen it if it is blurred, as far as that is needed.
 *
 * @param image square; black counts as no part of the photo.
 * @returns The image itself if nothing was.
 */
export function enhanceCrop(image: Pixels): Pixels {
  let grey = greyOf(image);
  const unit = image.width / SIDE;
  while (grey.width >= LARGE) grey = halved(grey);
  const { levels, gain } = stretching(grey, CUT);
  const noise = gain * noiseOf(grey);
  const stretched = gain === 1 ? image : mapped(image, levels);
  const amount = noise < BLURRED ? unsharpAmount(grey) : 0;
  return amount > 0 ? sharpened(stretched, amount) : smoothed(stretched, unit * sigmaOf(noise));
}

function greyOf({ data, width, height, channels }: Pixels): Plane {
  const grey = new Uint8Array(width * height); // with OpenCV's weights, of 15 bits
  for (let pixel = 0, from = 0; pixel < grey.length; pixel++, from += channels) {
    grey[pixel] = (9798 * data[from] + 19235 * data[from + 1] + 3735 * data[from + 2] + (1 << 14)) >> 15;
  }
  return { data: grey, width, height };
}

/** Return the means of blocks of two by two pixels; the image itself if it has none. */
function halved(grey: Plane): Plane {
  const { data, width, height } = grey;
  if (Math.min(width, height) < 2) return grey;
  const [columns, rows] = [width >> 1, height >> 1];
  const found = new Uint8Array(columns * rows);
  for (let y = 0, to = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, to++) {
      const from = 2 * y * width + 2 * x;
      found[to] = (data[from] + data[from + 1] + data[from + width] + data[from + width + 1] + 2) >> 2;
    }
  }
  return { data: found, width: columns, height: rows };
}

/**
 * Return the levels that take the place of an image's, and the contrast's gain; 1 if it has enough.
 *
 * @param cut the share of the pixels that is darkest, and that is lightest, which does not count.
 */
function stretching({ data }: Plane, cut: number): { levels: Uint8Array; gain: number } {
  const count = new Float64Array(256);
  for (let pixel = 0; pixel < data.length; pixel++) count[data[pixel]]++;
  count[0] = 0; // outside the photo
  const total = count.reduce((sum, value) => sum + value, 0);
  const reached = (pixels: number): number => {
    let sum = 0;
    const level = count.findIndex((value) => (sum += value) >= pixels);
    return level < 0 ? 256 : level;
  };
  const [low, high] = [reached(cut * total + 1), reached((1 - cut) * total)];
  const gain = Math.min(Math.max(1, CONTRAST / Math.max(high - low, 1)), MAX_GAIN);
  const middle = Math.min(Math.max((low + high) / 2, CONTRAST / 2), 255 - CONTRAST / 2);
  const level = (value: number): number => Math.min(Math.max((value - (low + high) / 2) * gain + middle, 0), 255);
  const levels = Uint8Array.from({ length: 256 }, (_, value) => roundEven(level(value)));
  return { levels, gain };
}

/** Return the standard deviation of an image's noise, in levels (Immerkaer, 1996); fine detail adds a little. */
function noiseOf({ data, width, height }: Plane): number {
  const differences = new Int16Array(width * height); // the second ones along each row
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * width; x < width; x++, at++) {
      const left = x > 0 ? at - 1 : at + (width > 1 ? 1 : 0);
      const right = x < width - 1 ? at + 1 : at - (width > 1 ? 1 : 0);
      differences[at] = data[left] - 2 * data[at] + data[right];
    }
  }
  let sum = 0;
  for (let y = 0; y < height; y++) {
    const above = (mirrored(y - 1, height) - y) * width;
    const below = (mirrored(y + 1, height) - y) * width;
    for (let at = y * width; at < (y + 1) * width; at++) {
      sum += Math.abs(differences[at + above] - 2 * differences[at] + differences[at + below]);
    }
  }
  return ((sum / data.length) * Math.sqrt(Math.PI / 2)) / 6;
}

function sigmaOf(noise: number): number {
  return Math.min(Math.max(0, SIGMA_PER_LEVEL * (noise - NOISE)), MAX_SIGMA);
}

/** Return how much of its detail a crop needs on top; 0 if it is sharp. */
function unsharpAmount(grey: Plane): number {
  const [fine, middle, coarse] = BANDS.map((sigma) => smooth(grey, (sigma * grey.width) / SIDE));
  const ratio = deviation(fine, middle, grey.width) / Math.max(deviation(middle, coarse, grey.width), 1e-6);
  return Math.max(UNSHARP_PER_RATIO * (SHARP - ratio), 0);
}

/** Return the standard deviation of the difference of two square planes, without what lies about the face. */
function deviation(first: Float32Array, second: Float32Array, side: number): number {
  const margin = Math.floor(side / 6);
  let [sum, squares] = [0, 0];
  for (let y = margin; y < side - margin; y++) {
    for (let pixel = y * side + margin; pixel < (y + 1) * side - margin; pixel++) {
      const difference = first[pixel] - second[pixel];
      sum += difference;
      squares += difference * difference;
    }
  }
  const count = (side - 2 * margin) ** 2;
  return Math.sqrt(Math.max(squares / count - (sum / count) ** 2, 0));
}

function mapped({ data, width, height, channels }: Pixels, levels: Uint8Array): Pixels {
  return { data: Uint8Array.from(data, (value) => levels[value]), width, height, channels };
}

function smoothed(image: Pixels, sigma: number): Pixels {
  return sigma < MIN_SIGMA ? image : { ...image, data: blurred(image, sigma) };
}

/** Return a crop plus so much of its difference from itself blurred. */
function sharpened(image: Pixels, amount: number): Pixels {
  const { data } = image;
  const width = Math.floor(image.width / SIDE_PER_WIDTH) | 1;
  const found = means(means(image, width), width).data as Uint8Array;
  for (let index = 0; index < data.length; index++) {
    const value = roundEven((1 + amount) * data[index] - amount * found[index]);
    found[index] = Math.min(Math.max(value, 0), 255);
  }
  return { ...image, data: found };
}

/** Return the mean of the square around each pixel, of an odd number of pixels across. */
function means(image: Pixels, across: number): Pixels {
  const { data, width, height, channels } = image;
  const weights = new Float64Array(across).fill(1);
  const sums = new Float32Array(data.length);
  convolve(data, sums, weights, [height, width * channels], [width, channels], channels);
  const found = new Float32Array(data.length);
  convolve(sums, found, weights, [width, channels], [height, width * channels], channels);
  return { ...image, data: Uint8Array.from(found, (sum) => Math.round(sum / (across * across))) };
}

/** Convolve an image of 8 bits with a Gaussian, with weights of 8 bits as OpenCV has them. */
function blurred({ data, width, height, channels }: Pixels, sigma: number): Uint8Array<ArrayBuffer> {
  const weights = gaussian(sigma, 3);
  const middle = weights.length >> 1;
  for (let tap = 0, error = 0, sum = 0; tap <= middle; tap++) {
    const exact = 256 * weights[tap] + error;
    weights[tap] = weights[weights.length - 1 - tap] = tap < middle ? roundEven(exact) : 256 - 2 * sum;
    sum += weights[tap];
    error = exact - weights[tap];
  }
  const across = new Float32Array(data.length);
  convolve(data, across, weights, [height, width * channels], [width, channels], channels);
  const down = new Float32Array(data.length);
  convolve(across, down, weights, [width, channels], [height, width * channels], channels);
  return Uint8Array.from(down, (value) => (value + (1 << 15)) >> 16);
}

/** Convolve numbers with a Gaussian. */
function smooth({ data, width, height }: Plane, sigma: number): Float32Array {
  const weights = gaussian(sigma, 4);
  const across = new Float32Array(data.length);
  convolve(data, across, weights, [height, width], [width, 1], 1);
  const down = new Float32Array(data.length);
  convolve(across, down, weights, [width, 1], [height, width], 1);
  return down;
}

/** Return the weights of a Gaussian that is cut off at so many sigmas; their sum is 1. */
function gaussian(sigma: number, reach: number): Float64Array {
  const radius = roundEven(2 * reach * sigma + 1) >> 1;
  const values = Float64Array.from({ length: 2 * radius + 1 }, (_, tap) => Math.exp(-((tap - radius) ** 2) / (2 * sigma ** 2)));
  const sum = values.reduce((total, value) => total + value, 0);
  return values.map((value) => value / sum);
}

/**
 * Convolve along lines; beyond its ends a line is mirrored on its last place, as OpenCV does it.
 *
 * @param lines how many lines there are, and how far apart they start.
 * @param places how many places a line has, and how far apart they are.
 */
function convolve(
  from: Uint8Array | Uint8ClampedArray | Float32Array,
  to: Float32Array,
  weights: Float64Array,
  [lines, next]: readonly [number, number],
  [places, step]: readonly [number, number],
  channels: number,
): void {
  const radius = weights.length >> 1;
  const values = new Float64Array(places + 2 * radius);
  for (let line = 0; line < lines; line++) {
    for (let start = line * next; start < line * next + channels; start++) {
      for (let place = 0, at = start; place < places; place++, at += step) values[place + radius] = from[at];
      for (let beyond = 1; beyond <= radius; beyond++) {
        values[radius - beyond] = from[start + mirrored(-beyond, places) * step];
        values[radius + places - 1 + beyond] = from[start + mirrored(places - 1 + beyond, places) * step];
      }
      for (let place = 0, at = start; place < places; place++, at += step) {
        let sum = 0;
        for (let tap = 0; tap < weights.length; tap++) sum += weights[tap] * values[place + tap];
        to[at] = sum;
      }
    }
  }
}

/** Return a place within the image for one beyond its edge, as if that were a mirror on the outermost pixel. */
function mirrored(place: number, length: number): number {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const within = ((place % period) + period) % period;
  return within < length ? within : period - within;
}
