/** Pixels and angles: what Python computes from the same numbers. */

import { describe, expect, it } from 'vitest';

import { faceChip, thumbnail } from '../src/cuts.js';
import { enhanceCrop, enhancePhoto } from '../src/enhance.js';
import type { Box, Matrix } from '../src/geometry.js';
import type { MarkUp } from '../src/markup.js';
import { type Pixels, shrink, warp } from '../src/pixels.js';
import { headPose } from '../src/pose.js';
import { expected, FOLDER, read } from './expected.js';

function differences(found: ArrayLike<number>, wanted: ArrayLike<number>): { most: number; mean: number } {
  expect(found.length).toBe(wanted.length);
  const all = Array.from(wanted, (value, index) => Math.abs(found[index] - value));
  return { most: all.reduce((a, b) => Math.max(a, b)), mean: all.reduce((a, b) => a + b) / all.length };
}

describe.skipIf(!FOLDER)('pixels are those of OpenCV (needs FACEKD_EXPECTED of the Python tests)', () => {
  const { pixels, poses } = FOLDER ? expected() : ({} as ReturnType<typeof expected>);
  const photo = (): Pixels => {
    const [width, height] = pixels.size;
    return { data: read(pixels.file), width, height, channels: 3 };
  };

  it('shrink', () => {
    for (const { file, scale, size, step } of pixels.shrink) {
      const found = shrink(photo(), scale);
      expect([found.image.width, found.image.height]).toEqual(size);
      found.step.forEach((value, axis) => expect(value).toBeCloseTo(step[axis], 9));
      const { most, mean } = differences(found.image.data, read(file));
      expect(most, `${scale}`).toBeLessThanOrEqual(1);
      expect(mean, `${scale}`).toBeLessThan(0.002);
    }
  });

  it('warp', () => {
    for (const { file, size, matrix } of pixels.warp) {
      const { mean } = differences(warp(photo(), matrix as unknown as Matrix, size).data, read(file));
      expect(mean, file).toBeLessThan(0.0001); // OpenCV's own ways of computing it differ by as much
    }
  });

  it('enhanced', () => {
    for (const { file, size: [width, height], is_crop: isCrop } of pixels.enhance) {
      const before: Pixels = { data: read(`${file}.before.rgb`), width, height, channels: 3 };
      const after = isCrop ? enhanceCrop(before) : enhancePhoto(before);
      const { most, mean } = differences(after.data, read(`${file}.after.rgb`));
      expect(most, file).toBeLessThanOrEqual(1);
      expect(mean, file).toBeLessThan(0.001);
    }
  });

  it('what cuts are told by', () => {
    expect(differences(thumbnail(photo()), read(pixels.thumbnail)).most).toBeLessThanOrEqual(1);
    const wanted = new Float32Array(new Uint8Array(read(pixels.chip.file)).buffer);
    const chip = faceChip(photo(), pixels.chip.box as unknown as Box, pixels.chip.roll);
    expect(differences(chip, wanted).most).toBeLessThanOrEqual(1);
  });

  it('poses', () => {
    const markup = { name: 'ibug68', count: 68 } as MarkUp;
    expect(poses.length).toBeGreaterThan(50);
    const off = poses.flatMap(({ points, pose }) => {
      const found = headPose(points, markup)!;
      return (['yaw', 'pitch', 'roll'] as const).map((axis) => Math.abs(found[axis] - pose[axis]));
    });
    expect(Math.max(...off)).toBeLessThan(0.1);
  });
});
