import { describe, expect, it } from 'vitest';

import { ModelError } from '../src/errors.js';
import { FaceFinder } from '../src/finder.js';
import { apply, type Box, cropMatrix, type Point } from '../src/geometry.js';
import type { MarkUp } from '../src/markup.js';
import type { LandmarkNetwork } from '../src/model.js';
import type { Pixels } from '../src/pixels.js';
import type { Detection } from '../src/yunet.js';

const SIDE = 200;
const BOX: Box = [50, 50, 150, 150];
const [LOW, HIGH] = [31.5 - 32 / 1.2, 31.5 + 32 / 1.2]; // where the face's box begins and ends in a crop of 64 px
// Eyes, nose and mouth, which fill it.
const UPRIGHT: Point[] = [[LOW, LOW], [HIGH, LOW], [31.5, 34], [18, HIGH], [45, HIGH]];
const FIVE = { name: 'five5', count: 5, crop: 'points' } as MarkUp;
const SCALING = { middle: 0.5, slope: 20 };

/** A photo whose right half is bright: turned upright, its upper half is. */
function photo(): Pixels {
  const data = new Uint8Array(SIDE * SIDE * 3);
  for (let at = 0; at < data.length; at++) data[at] = Math.floor(at / 3) % SIDE < SIDE / 2 ? 0 : 200;
  return { data, width: SIDE, height: SIDE, channels: 3 };
}

/** The mean of all points' confidence with which a face has this confidence as a whole. */
function logit(level: number): number {
  return SCALING.middle + Math.log(level / (1 - level)) / SCALING.slope;
}

/** A network that trusts crops whose upper half is the bright one by 0.95, all others by `level`; counts what it is asked. */
function network(level: number): { model: LandmarkNetwork; asked: number[] } {
  const asked: number[] = [];
  const card = { size: 64, scale: 1.2, markup: FIVE, faceCalibration: SCALING };
  const predict = (crops: readonly Pixels[]): Promise<{ points: Point[]; confidence: number[]; visible: null }[]> => {
    asked.push(crops.length);
    const found = crops.map(({ data, width, height, channels }) => {
      const bright = (from: number, to: number): number => {
        let sum = 0;
        for (let at = from * width * channels; at < to * width * channels; at++) sum += data[at];
        return sum;
      };
      const isUpright = bright(0, height / 2) > 2 * bright(height / 2, height);
      return { points: UPRIGHT, confidence: Array<number>(5).fill(logit(isUpright ? 0.95 : level)), visible: null };
    });
    return Promise.resolve(found);
  };
  return { model: { card, predict } as unknown as LandmarkNetwork, asked };
}

/** A finder, and the sides of all images that were searched for faces: one face in the photo as it is, none elsewhere. */
function finder(level: number): { find: FaceFinder; searched: string[]; asked: number[] } {
  const searched: string[] = [];
  const { model, asked } = network(level);
  const detect = (image: Pixels): Promise<{ box: Box; score: number }[]> => {
    searched.push(`${image.width} x ${image.height}`);
    return Promise.resolve(searched.length === 1 ? [{ box: BOX, score: 0.9 }] : []);
  };
  const transform = { scale: 1, shiftX: 0, shiftY: 0 };
  return { find: new FaceFinder(model, { detect }, transform, true, 0), searched, asked };
}

it('without a transform, boxes of a detector are refused, and faces of none are not found', async () => {
  const { model, asked } = network(0.85);
  const detect = (): Promise<Detection[]> => Promise.resolve([]);
  const find = new FaceFinder(model, { detect }, null, true, 0);
  await expect(find.find(photo())).rejects.toThrow(/^this network of 'five5' has no transform for a face detector's boxes.*boxType/);
  await expect(find.findIn(photo(), [BOX], 'detector', null)).rejects.toThrow(ModelError);
  expect(asked).toEqual([]);
  expect(await find.findIn(photo(), [BOX], 'landmarks', null)).toHaveLength(1);
});

describe('rolled faces', () => {
  it('of given boxes are tried in other rolls unless they are surely upright', async () => {
    const little = finder(0.7);
    const [found] = await little.find.findIn(photo(), [BOX], 'landmarks', null);
    expect(found.faceConfidence).toBeCloseTo(0.95, 6);
    expect(little.asked).toEqual([1, 3, 1]); // as it is, in three rolls, and once more by the best one's landmarks
    const sure = finder(0.85);
    const [kept] = await sure.find.findIn(photo(), [BOX], 'landmarks', null);
    expect(kept.faceConfidence).toBeCloseTo(0.85, 6);
    expect(sure.asked).toEqual([1]);
  });

  it('of known roll are cut out once', async () => {
    const { find, asked } = finder(0.1);
    const [found] = await find.findIn(photo(), [BOX], 'landmarks', [90]);
    expect(found.faceConfidence).toBeCloseTo(0.95, 6);
    expect(asked).toEqual([1]);
  });

  it('are searched for about a doubtful face, and in the whole photo if none may be upright', async () => {
    const region = '288 x 96'; // what is about the face, turned by one, two and three quarters, in one image
    const whole = `${SIDE} x ${SIDE}`;
    for (const [level, expected] of [
      [0.85, [whole]],
      [0.7, [whole, region]],
      [0.35, [whole, region]],
      [0.25, [whole, region, whole, whole, whole]],
    ] as const) {
      const { find, searched } = finder(level);
      const [face] = await find.find(photo());
      expect(face.faceConfidence).toBeCloseTo(level, 6);
      expect(searched).toEqual(expected);
    }
  });
});

describe('boxes that are off', () => {
  const GIVEN: Box = [49.5, 49.5, 113.5, 113.5]; // its crop of 64 px is the photo from (50, 50) on
  const FRAME: Box = [-0.5, -0.5, 63.5, 63.5]; // what it is in its crop
  const SEEN: Box = [15.5, 7.5, 47.5, 39.5]; // where the crop shows the face: half as large, 8 px higher
  const LATER: Point[] = [[1, 1], [61, 1], [31, 41], [11, 61], [51, 61]]; // its points in the second crop

  /** Eyes, nose and mouth that fill a box. */
  const filling = ([x0, y0, x1, y1]: Box): Point[] => {
    const [x, y, quarter] = [(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 4];
    return [[x0, y0], [x1, y0], [x, y], [x - quarter, y1], [x + quarter, y1]];
  };

  /** The points that fill `SEEN`, rotated about its centre. */
  const rotated = (roll: number): Point[] => {
    return apply(cropMatrix(SEEN, 64, 2, roll), filling(SEEN)).map(([x, y]) => [x, y - 8]);
  };

  /** The frame's box, smaller or larger, and moved to the right by a share of its side. */
  const changed = (side: number, scale: number, shift: number): Box => {
    const [x, half] = [31.5 + side * shift, (side / 2) * scale];
    return [x - half, 31.5 - half, x + half, 31.5 + half];
  };

  /** A photo whose red is x and whose green is y. */
  const ramps = (): Pixels => {
    const data = Uint8Array.from({ length: SIDE * SIDE * 3 }, (_, at) => {
      const pixel = Math.floor(at / 3);
      return [pixel % SIDE, Math.floor(pixel / SIDE), 0][at % 3];
    });
    return { data, width: SIDE, height: SIDE, channels: 3 };
  };

  /** A finder in whose crops the network finds what `answer` says; it is surer of what it is asked later. */
  const start = (answer: (call: number, face: number) => Point[], scale = 1, crop = 'points', anyRoll = false) => {
    const asked: (readonly Pixels[])[] = [];
    const card = { size: 64, scale, markup: { ...FIVE, crop }, faceCalibration: SCALING };
    const predict = async (crops: readonly Pixels[]) => {
      const call = asked.push(crops) - 1;
      const confidence = Array<number>(5).fill(0.1 * (call + 1));
      return crops.map((_, face) => ({ points: answer(call, face), confidence, visible: null }));
    };
    const detect = async (): Promise<{ box: Box; score: number }[]> => [{ box: GIVEN, score: 0.9 }];
    const transform = { scale: 1, shiftX: 0, shiftY: 0 };
    const find = new FaceFinder({ card, predict } as unknown as LandmarkNetwork, { detect }, transform, anyRoll, 0);
    return { find, asked, counts: () => asked.map((crops) => crops.length) };
  };

  /** Red and green of a crop's pixel: where it is in the photo, rounded. */
  const place = ({ data, width }: Pixels, x: number, y: number): number[] => {
    return [...data.slice(3 * (width * y + x)).slice(0, 2)];
  };

  const close = (found: readonly Point[], wanted: readonly Point[]): void => {
    expect(found.length).toBe(wanted.length);
    found.flat().forEach((value, index) => expect(value).toBeCloseTo(wanted.flat()[index], 9));
  };

  const UPRIGHT_POINTS: Point[] = [[66.25, 58.25], [96.25, 58.25], [81.25, 78.25], [71.25, 88.25], [91.25, 88.25]];
  const TURNED_POINTS: Point[] = [[96.75, 58.25], [96.75, 88.25], [76.75, 73.25], [66.75, 63.25], [66.75, 83.25]];
  const FURTHER_POINTS = TURNED_POINTS.map(([x, y]): Point => [x + 8, y + 8]);
  it.each([
    // The second crop is the photo's box 65.5, 57.5, 97.5, 89.5, twice as large: its pixel (10, 20) is at 70.75, 67.75.
    { name: 'upright', known: 0, roll: 0, points: UPRIGHT_POINTS, pixel: [71, 68] },
    // The same box, turned upright about its centre (81.5, 73.5): the pixel is 5.75 to its right and 10.75 above.
    { name: 'rolled', known: 0, roll: 90, points: TURNED_POINTS, pixel: [87, 63] },
    // In the crop that was turned upright by the known roll, higher is to the right in the photo: about (89.5, 81.5).
    { name: 'of known roll', known: 90, roll: 0, points: FURTHER_POINTS, pixel: [95, 71] },
  ])('are cut again by the landmarks: faces that are $name', async ({ known, roll, points, pixel }) => {
    const { find, asked, counts } = start((call) => (call ? LATER : rotated(roll)));
    const [face] = await find.findIn(ramps(), [GIVEN], 'detector', [known]);
    expect(counts()).toEqual([1, 1]);
    expect(place(asked[1][0], 10, 20)).toEqual(pixel);
    close(face.points, points);
    expect(face.confidence).toEqual(Array(5).fill(0.2));
    expect(face.box).toEqual(GIVEN);
  });

  it('are cut again where they are detected', async () => {
    const { find, counts } = start((call) => (call ? LATER : filling(SEEN)));
    const [face] = await find.find(ramps());
    expect(counts()).toEqual([1, 1]);
    close(face.points, UPRIGHT_POINTS);
  });

  it('are cut again all at once, without those that fit', async () => {
    const { find, counts } = start((call, face) => (call ? LATER : filling(face === 1 ? FRAME : SEEN)));
    const faces = await find.findIn(ramps(), [GIVEN, GIVEN, GIVEN], 'detector', [0, 0, 0]);
    expect(counts()).toEqual([3, 2]);
    for (const index of [0, 2]) close(faces[index].points, UPRIGHT_POINTS);
    close(faces[1].points, filling(GIVEN));
    expect(faces.map(({ confidence }) => confidence![0])).toEqual([0.2, 0.1, 0.2]);
  });

  it.each([
    // Squares of s times the side share s * s; moved by d of the side (1 - d) / (1 + d).
    { scale: 0.9, shift: 0, again: false }, // IoU 0.81
    { scale: 0.89, shift: 0, again: true }, // 0.792
    { scale: 1.11, shift: 0, again: false }, // 0.812
    { scale: 1.12, shift: 0, again: true }, // 0.797
    { scale: 1, shift: 0.11, again: false }, // 0.802
    { scale: 1, shift: 0.12, again: true }, // 0.786
    { scale: 2.9, shift: 0, again: true },
    { scale: 3.1, shift: 0, again: false }, // no face
    { scale: NaN, shift: 0, again: false },
  ])('are told by their IoU: $scale times the side, moved by $shift', async ({ scale, shift, again }) => {
    const { find, counts } = start(() => filling(changed(64 / 1.2, scale, shift)), 1.2);
    await find.findIn(ramps(), [GIVEN], 'detector', [0]);
    expect(counts()).toEqual(again ? [1, 1] : [1]);
  });

  it.each([14, -14, 16, -16])('are turned upright from a roll of 15 degrees on: %d', async (roll) => {
    const { find, asked } = start(() => rotated(roll));
    await find.findIn(ramps(), [GIVEN], 'detector', [0]);
    const [, [crop]] = asked;
    expect(place(crop, 10, 20)[1] !== place(crop, 50, 20)[1]).toBe(Math.abs(roll) > 15);
  });

  it('are none of those about landmarks, even where other rolls are tried', async () => {
    const { find, counts } = start(() => filling(SEEN));
    const [face] = await find.findIn(ramps(), [GIVEN], 'landmarks', null);
    expect(counts()).toEqual([1]);
    close(face.points, filling([65.5, 57.5, 97.5, 89.5]));
    for (const [boxType, expected] of [['landmarks', [1, 3, 1]], ['detector', [1, 1, 3, 3, 1]]] as const) {
      const doubtful = start(() => filling(SEEN), 1, 'points', true);
      await doubtful.find.findIn(ramps(), [GIVEN], boxType, null);
      expect(doubtful.counts()).toEqual(expected);
    }
  });

  it('are as they are where points do not give them', async () => {
    const { find, counts } = start(() => filling(SEEN), 1, 'face');
    const [face] = await find.findIn(ramps(), [GIVEN], 'detector', [0]);
    expect(counts()).toEqual([1]);
    close(face.points, filling([65.5, 57.5, 97.5, 89.5]));
    const doubtful = start(() => filling(SEEN), 1, 'face', true);
    await doubtful.find.findIn(ramps(), [GIVEN], 'detector', null);
    expect(doubtful.counts()).toEqual([1, 3]);
  });
});
