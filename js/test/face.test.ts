import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { InputError, ModelError } from '../src/errors.js';
import { Face } from '../src/face.js';
import { apply, type Box, cropMatrix, type Point } from '../src/geometry.js';
import { convert, type MarkUp, readMarkUp } from '../src/markup.js';
import { calibrated, readCard } from '../src/model.js';
import { rollAngle } from '../src/roll.js';
import { better, withoutParts, withTurned } from '../src/selection.js';
import { split, withSize } from '../src/tflite.js';

const LITE = new Uint8Array(readFileSync(new URL('../../src/facekd/weights/facekd-68-lite.tflite', import.meta.url)));
const YUNET = new Uint8Array(readFileSync(new URL('../models/yunet.tflite', import.meta.url)));
const FIVE = { name: 'five5', count: 5 } as MarkUp;
// Eyes, nose and mouth of an upright face, whose centre is (100, 100).
const UPRIGHT: Point[] = [[52, 56], [148, 56], [100, 108], [63, 140], [137, 140]];

function face(faceConfidence: number | null, box: Box = [0, 0, 200, 200], points = UPRIGHT): Face {
  return new Face({ box, score: 0.9, points, confidence: null, markup: FIVE, faceConfidence, visible: null });
}

describe('files', () => {
  it('hold the card, and the network that it names by its SHA-256', async () => {
    const { network, card } = await split(LITE, 'lite');
    const values = card as { sha256: string; name: string };
    expect(createHash('sha256').update(network).digest('hex')).toBe(values.sha256);
    const { markup, size, scale, boxTransform } = readCard(card);
    expect([markup.name, markup.count, size, scale]).toEqual(['ibug68', 68, 112, 1.2]);
    expect(boxTransform!.shiftY).toBeGreaterThan(0.1);
    expect(markup.interOcular).toEqual([[36], [45]]);
    expect(markup.crop).toBe('points');
    expect(readMarkUp({ name: 'pupil', count: 1, mirror: [0], crop: 'face' }).crop).toBe('face');
  });

  it('are refused without a card, or with another', async () => {
    await expect(split(YUNET, 'yunet')).rejects.toThrow('yunet holds no model card');
    await expect(split(new Uint8Array(3), 'short')).rejects.toThrow(ModelError);
    expect(() => readCard({ input: { size: 112, scale: 1.2 } })).toThrow(ModelError);
    expect(() => readCard(null)).toThrow(ModelError);
  });

  it('of the detector take another size', () => {
    expect(Buffer.compare(withSize(YUNET, 1, 1), YUNET)).toBe(0);
    const changed = withSize(YUNET, 5, 7).reduce((sum, byte, index) => sum + (byte === YUNET[index] ? 0 : 1), 0);
    expect(changed).toBe(2 * 46); // two sides of each tensor that is computed
    expect(() => withSize(new Uint8Array(100), 1, 1)).toThrow(ModelError);
  });
});

describe('faces', () => {
  it('are measured', () => {
    const points: Point[] = Array.from({ length: 68 }, () => [0, 0]);
    const eye: Point[] = [[0, 0], [3, -1], [7, -1], [10, 0], [7, 2], [3, 2]];
    eye.forEach((point, index) => (points[36 + index] = points[42 + index] = point));
    [[0, 0], [1, -2], [4, -2], [7, -2], [8, 0], [7, 2], [4, 2], [1, 2]].forEach(([x, y], at) => (points[60 + at] = [x, y]));
    const markup = { name: 'ibug68', count: 68, contours: [{ name: 'left eye', points: [36, 37], closed: true }] };
    const found = face(null).with({ points, markup: markup as unknown as MarkUp });
    expect(found.eyeOpenness).toEqual({ left: 0.3, right: 0.3 });
    expect(found.mouthOpenness).toBe(0.5);
    expect(found.part('left eye')).toEqual([[0, 0], [3, -1]]);
    expect(() => found.part('ear')).toThrow(InputError);
    expect(face(null).pose).toBeNull();
  });

  it('become what Python reads', () => {
    const seen = face(1 / 3).with({ visible: [1, 1, 0.12345, 0, 0] });
    const values = { face_confidence: 0.3333, confidence: null, visible: [1, 1, 0.1235, 0, 0], pose: null };
    expect(JSON.parse(JSON.stringify(seen))).toMatchObject(values);
  });

  it('are right with a probability that their confidence tells', () => {
    expect(calibrated({ middle: 0.4, slope: 10 }, [0.3, 0.5])).toBeCloseTo(0.5, 12);
    expect(calibrated({ middle: 0.4, slope: 10 }, [0.6])).toBeCloseTo(1 / (1 + Math.exp(-2)), 12);
  });

  it.each([0, 30, -100, 179])('roll by %d degrees', (roll) => {
    expect(rollAngle(apply(cropMatrix([0, 0, 9, 9], 9, 1, roll), UPRIGHT), FIVE)).toBeCloseTo(roll, 9);
  });

  it('have other points in another mark-up', () => {
    const numbered = Array.from({ length: 98 }, (_, index): Point => [index, 2 * index]);
    const ibug = convert(numbered, 'wflw98', 'ibug68')!;
    expect(ibug.length).toBe(68);
    expect([ibug[1], ibug[17], ibug[38], ibug[67]]).toEqual([[2, 4], [33, 66], [63, 126], [95, 190]]);
    expect(convert(numbered, 'wflw98', 'five5')![2]).toEqual(ibug[30]);
    expect(convert(numbered, 'wflw98', 'cofw29')).toBeNull();
  });
});

describe('selection', () => {
  const far = UPRIGHT.map(([x, y]): Point => [x + 900, y]);

  it('takes a turned face that is clearly more confident', () => {
    const [weak, doubtful, sure] = [face(0.2), face(0.35), face(0.9)];
    expect(withTurned([weak], [sure])).toEqual([sure]);
    expect(withTurned([face(0.75)], [sure])[0].faceConfidence).toBe(0.75); // not by 0.2
    expect(withTurned([weak], [doubtful])).toEqual([weak]); // not to be trusted itself
    expect(withTurned([weak], [face(0.9, [900, 0, 1100, 200], far)]).length).toBe(2); // elsewhere
    expect([better(weak, [doubtful, sure]), better(weak, [doubtful])]).toEqual([sure, weak]); // not by 0.2
    expect(better(face(0.1), [doubtful])).toEqual(doubtful); // not to be trusted, but known to be there
  });

  it('leaves out parts of a face, and faces that were found twice', () => {
    const sure = face(0.9);
    const part = face(0.3, [50, 50, 100, 100], far);
    expect(withoutParts([sure, part])).toEqual([sure]);
    expect(withoutParts([face(0.8), sure])).toEqual([sure]);
    expect(withoutParts([sure, face(0.6, [50, 50, 100, 100], far)]).length).toBe(2);
  });
});
