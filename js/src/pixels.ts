/** Images as numbers: read from what a page has, shrunk and cut out as OpenCV does it, so that networks see the same. */

import { InputError } from './errors.js';
import { apply, invert, type Matrix, roundEven, tightBox, zoom } from './geometry.js';

// Below this scale bilinear sampling skips pixels, so that an area average has to come first.
const SHRINKS = 0.6;
const A_LITTLE = 1e-6; // of a pixel
const ONE = 1 << 11; // the sum of two weights of bilinear resizing
const IMAGES = 'give an <img>, <video>, <canvas>, ImageBitmap or ImageData';

/** An image: rows from the top, pixels from the left, red, green and blue of each, and maybe alpha, which is not read. */
export interface Pixels {
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
  readonly channels: 3 | 4;
}

/** What a page or a worker has as an image. */
export type ImageSource =
  | HTMLImageElement
  | HTMLVideoElement
  | HTMLCanvasElement
  | OffscreenCanvas
  | ImageBitmap
  | VideoFrame
  | ImageData
  | Pixels;

let canvas: OffscreenCanvas | undefined;

/**
 * Read the pixels of an image. What is transparent becomes white.
 *
 * @throws InputError if it is no image, not loaded, without pixels, too large for a canvas, or of another origin.
 */
export function readPixels(image: ImageSource): Pixels {
  // What `querySelector` does not find is null, and JavaScript's callers have no types.
  if (typeof image !== 'object' || image === null) throw new InputError(`${image} is no image; ${IMAGES}`);
  if ('data' in image) return 'channels' in image ? checked(image) : opaque(image);
  const [width, height] = sizeOf(image);
  if (typeof width !== 'number' || typeof height !== 'number') throw new InputError(`${image} is no image; ${IMAGES}`);
  if (!(width > 0 && height > 0)) {
    throw new InputError('the image has no pixels yet; wait until it has loaded, a video until it plays');
  }
  canvas ??= new OffscreenCanvas(width, height);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d', { willReadFrequently: true })!;
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  try {
    return { data: context.getImageData(0, 0, width, height).data, width, height, channels: 4 };
  } catch (error) {
    canvas = undefined; // if it is tainted, it stays so
    if ((error as Error).name !== 'SecurityError') {
      throw new InputError(`an image of ${width} x ${height} pixels cannot be read; give a smaller one`);
    }
    throw new InputError('the image is of another origin; serve it from the page\'s own, or with CORS headers');
  }
}

function sizeOf(image: Exclude<ImageSource, ImageData | Pixels>): [number, number] {
  if ('naturalWidth' in image) return [image.naturalWidth, image.naturalHeight];
  if ('videoWidth' in image) return [image.videoWidth, image.videoHeight];
  if ('displayWidth' in image) return [image.displayWidth, image.displayHeight];
  return [image.width, image.height];
}

function checked(pixels: Pixels): Pixels {
  const { data, width, height, channels } = pixels;
  if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray)) {
    throw new InputError('the data of an image must be a Uint8Array or Uint8ClampedArray');
  }
  if (channels !== 3 && channels !== 4) throw new InputError(`an image needs 3 or 4 channels, got ${channels}`);
  if (!(width > 0 && height > 0 && data.length === width * height * channels)) {
    throw new InputError(`${data.length} values are no image of ${width} x ${height} pixels with ${channels} channels`);
  }
  return pixels;
}

function opaque({ data, width, height }: ImageData): Pixels {
  const found = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    const alpha = data[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const value = data[from + channel];
      found[to + channel] = alpha === 255 ? value : (value * alpha + 255 * (255 - alpha) + 127) / 255;
    }
  }
  return { data: found, width, height, channels: 3 };
}

/** An image of another size, and how many pixels of the first one of its pixels is wide and high. */
export interface Resized {
  readonly image: Pixels;
  readonly step: readonly [number, number];
}

/**
 * Resize an image: it is halved until it is nearest to the size, and bilinear sampling does the rest.
 *
 * @param scale about how many pixels a pixel becomes; above 1 the image is enlarged.
 */
export function shrink(image: Pixels, scale: number): Resized {
  const { width, height } = image;
  const size = [width, height].map((length) => Math.max(1, roundEven(length * scale))) as [number, number];
  const halvings = Math.min(Math.max(0, roundEven(-Math.log2(scale))), Math.floor(Math.log2(Math.min(height, width))));
  let halved = image;
  for (let count = 0; count < halvings; count++) halved = average(halved, 0, 0, halved.width >> 1, halved.height >> 1, 2, 2);
  const wide = 2 ** halvings; // pixels of the image that one is wide
  const step = [(halved.width * wide) / size[0], (halved.height * wide) / size[1]] as const;
  const same = halved.width === size[0] && halved.height === size[1];
  return { image: same ? halved : bilinear(halved, ...size), step };
}

/**
 * Average blocks of pixels.
 *
 * @param left of the first block, in pixels.
 * @param top of the first block.
 * @param columns blocks side by side.
 * @param rows blocks above each other.
 * @param across pixels that a block is wide.
 * @param down pixels that a block is high.
 */
export function average(
  image: Pixels,
  left: number,
  top: number,
  columns: number,
  rows: number,
  across: number,
  down: number,
): Pixels {
  const { data, width, channels } = image;
  const found = new Uint8Array(columns * rows * 3);
  const weight = Math.fround(1 / (across * down));
  const sums = new Uint32Array(3 * columns);
  for (let row = 0, to = 0; row < rows; row++) {
    sums.fill(0);
    for (let line = 0; line < down; line++) {
      let from = ((top + row * down + line) * width + left) * channels;
      for (let index = 0; index < sums.length; index += 3) {
        for (let pixel = 0; pixel < across; pixel++, from += channels) {
          sums[index] += data[from];
          sums[index + 1] += data[from + 1];
          sums[index + 2] += data[from + 2];
        }
      }
    }
    // OpenCV rounds halves up in blocks of two by two, and to even numbers in larger ones.
    const small = across === 2 && down === 2;
    for (const sum of sums) found[to++] = small ? (sum + 2) >> 2 : roundEven(Math.fround(sum * weight));
  }
  return { data: found, width: columns, height: rows, channels: 3 };
}

/** Resize an image by bilinear sampling, with weights of 11 bits as OpenCV has them. */
export function bilinear(image: Pixels, width: number, height: number): Pixels {
  const { data, channels } = image;
  const found = new Uint8Array(width * height * 3);
  const across = samples(image.width, width, channels);
  const down = samples(image.height, height, image.width * channels);
  for (let y = 0, to = 0; y < height; y++) {
    const upper = down.first[y];
    const lower = down.second[y];
    const below = down.weight[y];
    for (let x = 0; x < width; x++) {
      const left = across.first[x];
      const right = across.second[x];
      const beside = across.weight[x];
      for (let channel = 0; channel < 3; channel++) {
        const above = data[upper + left + channel] * (ONE - beside) + data[upper + right + channel] * beside;
        const under = data[lower + left + channel] * (ONE - beside) + data[lower + right + channel] * beside;
        found[to++] = ((((ONE - below) * (above >> 4)) >> 16) + ((below * (under >> 4)) >> 16) + 2) >> 2;
      }
    }
  }
  return { data: found, width, height, channels: 3 };
}

/** Return between which two pixels, as offsets by `stride`, each of `count` pixels lies, and how near to the second. */
function samples(length: number, count: number, stride: number) {
  const first = new Int32Array(count);
  const second = new Int32Array(count);
  const weight = new Int32Array(count);
  const scale = 1 / (count / length); // as OpenCV computes it
  for (let index = 0; index < count; index++) {
    const position = Math.min(Math.max(Math.fround((index + 0.5) * scale - 0.5), 0), length - 1);
    const whole = Math.floor(position);
    first[index] = whole * stride;
    second[index] = Math.min(whole + 1, length - 1) * stride;
    weight[index] = roundEven((position - whole) * ONE);
  }
  return { first, second, weight };
}

/**
 * Cut a square frame from an image; bilinear, black outside the image.
 *
 * Where the image shrinks, the part that is needed is averaged by area first, so that texture does not alias.
 *
 * @param matrix from image pixels to frame pixels.
 * @param size side of the frame in pixels.
 */
export function warp(image: Pixels, matrix: Matrix, size: number): Pixels {
  const scale = zoom(matrix);
  if (!(scale < SHRINKS)) return sample(image, matrix, size);
  const factor = roundEven(1 / scale);
  const [low, high] = [-0.5, size - 0.5];
  const corners = apply(invert(matrix), [[low, low], [high, low], [low, high], [high, high]]);
  // Rounded boxes end on pixels: not the last digit says on which side.
  const [x0, y0, x1, y1] = tightBox(corners).map((end) => Math.trunc(end - A_LITTLE));
  const [left, top] = [Math.max(0, x0 - 1), Math.max(0, y0 - 1)];
  const width = Math.min(image.width, x1 + 2 + factor) - left;
  const height = Math.min(image.height, y1 + 2 + factor) - top;
  if (width <= 0 || height <= 0) return { data: new Uint8Array(size * size * 3), width: size, height: size, channels: 3 };
  const [across, down] = [Math.min(factor, width), Math.min(factor, height)];
  const shrunk = average(image, left, top, Math.floor(width / across), Math.floor(height / down), across, down);
  // Shrunk pixel u lies at photo x = left + (u + 0.5) * across - 0.5.
  const [x, y] = [left + across / 2 - 0.5, top + down / 2 - 0.5];
  const [a, b, c, d, e, f] = matrix;
  return sample(shrunk, [a * across, b * down, a * x + b * y + c, d * across, e * down, d * x + e * y + f], size);
}

/**
 * Sample a square frame from an image; bilinear, black outside the image.
 *
 * @param matrix from image pixels to frame pixels.
 * @param size side of the frame in pixels.
 */
export function sample(image: Pixels, matrix: Matrix, size: number): Pixels {
  const { data, width, height, channels } = image;
  // OpenCV computes with 32 bits, products and sums in one step (FMA): one level more or less than its own can move a
  // landmark by tenths of a pixel.
  const { fround } = Math;
  const [a, b, c, d, e, f] = invert(matrix).map(fround);
  const found = new Uint8Array(size * size * 3);
  const [next, row] = [channels, width * channels];
  for (let v = 0, to = 0; v < size; v++) {
    const startX = fround(fround(b * v) + c);
    const startY = fround(fround(e * v) + f);
    for (let u = 0; u < size; u++, to += 3) {
      const x = fround(a * u + startX);
      const y = fround(d * u + startY);
      const left = Math.floor(x);
      const top = Math.floor(y);
      if (!(left >= -1 && top >= -1 && left < width && top < height)) continue;
      const across = x - left;
      const down = y - top;
      const inLeft = left >= 0;
      const inRight = left + 1 < width;
      const inUpper = top >= 0;
      const inLower = top + 1 < height;
      const from = top * row + left * channels;
      for (let channel = from; channel < from + 3; channel++) {
        const p = inUpper && inLeft ? data[channel] : 0;
        const q = inUpper && inRight ? data[channel + next] : 0;
        const r = inLower && inLeft ? data[channel + row] : 0;
        const s = inLower && inRight ? data[channel + row + next] : 0;
        const upper = fround(p + across * (q - p));
        const lower = fround(r + across * (s - r));
        found[to + channel - from] = roundEven(fround(upper + down * fround(lower - upper)));
      }
    }
  }
  return { data: found, width: size, height: size, channels: 3 };
}

/** Turn a square image by quarters of a circle, counter-clockwise as seen. */
export function turn(image: Pixels, quarters: number): Pixels {
  let { data } = image;
  const { width: size } = image;
  for (let left = quarters; left > 0; left--) {
    const turned = new Uint8Array(size * size * 3);
    for (let y = 0, to = 0; y < size; y++) {
      for (let x = 0; x < size; x++, to += 3) {
        const from = (x * size + size - 1 - y) * 3;
        turned[to] = data[from];
        turned[to + 1] = data[from + 1];
        turned[to + 2] = data[from + 2];
      }
    }
    data = turned;
  }
  return { data, width: size, height: size, channels: 3 };
}

/** Put images of one height, with three channels, side by side. */
export function beside(images: readonly Pixels[]): Pixels {
  const { height } = images[0];
  const width = images.reduce((sum, image) => sum + image.width, 0);
  const data = new Uint8Array(width * height * 3);
  let left = 0;
  for (const image of images) {
    for (let y = 0; y < height; y++) {
      const row = image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3);
      data.set(row, (y * width + left) * 3);
    }
    left += image.width;
  }
  return { data, width, height, channels: 3 };
}
