import { describe, expect, it } from 'vitest';

import { InputError } from '../src/errors.js';
import { average, beside, bilinear, type Pixels, readPixels, sample, shrink, turn } from '../src/pixels.js';

/** A grey image of three channels. */
function grey(rows: number[][]): Pixels {
  return { data: Uint8Array.from(rows.flat().flatMap((v) => [v, v, v])), width: rows[0].length, height: rows.length, channels: 3 };
}

/** The rows of a grey image. */
function rows({ data, width, height }: Pixels): number[][] {
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => data[3 * (y * width + x)]));
}

describe('shrinking', () => {
  it('averages blocks; of two by two, halves go up, of others to the even number', () => {
    expect(rows(average(grey([[0, 1, 8], [1, 0, 8]]), 0, 0, 1, 1, 2, 2))).toEqual([[1]]);
    expect(rows(average(grey([[9, 0, 0, 1, 1]]), 1, 0, 1, 1, 4, 1))).toEqual([[0]]);
    expect(rows(average(grey([[9, 1, 1, 2, 2]]), 1, 0, 1, 1, 4, 1))).toEqual([[2]]);
  });

  it('keeps the edges of the picture, but for a part of a block', () => {
    const { image, step } = shrink(grey(Array(5).fill([10, 10, 30, 30, 50, 50, 99])), 1 / 2);
    expect([image.width, image.height]).toEqual([4, 2]); // 3.5 and 2.5 rounded to even numbers
    expect(step).toEqual([6 / 4, 4 / 2]);
    expect(rows(image)[0]).toEqual([10, 23, 38, 50]); // 10, 30 and 50, sampled at -1/8, 5/8, 11/8 and 17/8
  });

  it('enlarges between the centres of pixels', () => {
    expect(rows(bilinear(grey([[0, 100]]), 4, 1))).toEqual([[0, 25, 75, 100]]);
  });

  it('does not read alpha', () => {
    const image: Pixels = { data: Uint8Array.from([1, 2, 3, 9, 5, 6, 7, 9]), width: 2, height: 1, channels: 4 };
    expect([...average(image, 0, 0, 1, 1, 2, 1).data]).toEqual([3, 4, 5]);
  });
});

describe('sampling', () => {
  it('is bilinear, and black outside', () => {
    const found = sample(grey([[100, 200], [100, 200]]), [1, 0, -0.5, 0, 1, 0], 3);
    expect(rows(found)).toEqual([[150, 100, 0], [150, 100, 0], [0, 0, 0]]);
  });

  it('turns counter-clockwise, as rot90 of NumPy', () => {
    expect(rows(turn(grey([[1, 2], [3, 4]]), 1))).toEqual([[2, 4], [1, 3]]);
    expect(rows(turn(grey([[1, 2], [3, 4]]), 3))).toEqual([[3, 1], [4, 2]]);
  });

  it('puts images side by side', () => {
    expect(rows(beside([grey([[1], [2]]), grey([[3], [4]])]))).toEqual([[1, 3], [2, 4]]);
  });
});

describe('reading', () => {
  it('makes white of what is transparent', () => {
    const image = { data: Uint8ClampedArray.from([0, 100, 255, 0, 0, 100, 255, 255, 0, 100, 255, 51]), width: 3, height: 1 };
    expect([...readPixels(image as ImageData).data]).toEqual([255, 255, 255, 0, 100, 255, 204, 224, 255]);
  });

  it('refuses what is no image', () => {
    expect(() => readPixels({ data: new Uint8Array(5), width: 2, height: 1, channels: 3 })).toThrow(InputError);
    for (const none of [null, undefined, '#photo', {}]) expect(() => readPixels(none as any)).toThrow(InputError);
    const grey = { data: new Uint8Array(4), width: 2, height: 2, channels: 1 };
    expect(() => readPixels(grey as any)).toThrow('3 or 4 channels');
    const floats = { data: new Float32Array(12), width: 2, height: 2, channels: 3 };
    expect(() => readPixels(floats as any)).toThrow('Uint8Array');
    expect(() => readPixels({ data: new Uint8Array(0), width: 0, height: 0, channels: 3 })).toThrow(InputError);
  });
});
