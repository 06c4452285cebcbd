import { expect, it } from 'vitest';

import { InputError } from '../src/errors.js';
import { OneEuro, type Smoothing } from '../src/smoothing.js';

const ELAPSED = 1 / (2 * Math.PI); // seconds, after which a low-pass of 1 Hz takes half of a new value

it('takes half of a new value where the cutoff says so', () => {
  const filter = new OneEuro({ cutoff: 1, beta: 0, speedCutoff: 1 });
  expect(filter.filter([[0, 0]], 5, 100)).toEqual([[0, 0]]);
  const [[x, y]] = filter.filter([[2, 4]], 5 + ELAPSED, 100);
  expect([x, y].map((value) => Number(value.toFixed(9)))).toEqual([1, 2]);
});

it('follows what moves: the cutoff rises with the speed in sides per second', () => {
  const filter = new OneEuro({ cutoff: 1, beta: 1, speedCutoff: 1 });
  filter.filter([[0, 0]], 0, 2);
  // 2 px in that time are 2 pi sides of 2 px per second, half of which the speed's own filter takes: cutoff 1 + pi.
  const [[x]] = filter.filter([[2, 0]], ELAPSED, 2);
  expect(x).toBeCloseTo((2 * (1 + Math.PI)) / (2 + Math.PI), 9);
});

it.each([
  [{ cutoff: 0, beta: 30, speedCutoff: 2 }, 'cutoff 0, beta 30, speedCutoff 2'],
  [{ cutoff: 1, beta: -1, speedCutoff: 2 }, 'beta -1'],
  [{ cutoff: 1, beta: 30, speedCutoff: NaN }, 'speedCutoff NaN'],
  [{ cutoff: 1 } as Smoothing, 'beta undefined'],
])('settings that freeze or lose points are refused: %o', (settings, why) => {
  expect(() => new OneEuro(settings)).toThrow(InputError);
  expect(() => new OneEuro(settings)).toThrow(why);
});

it('starts anew at a frame that is not later', () => {
  const filter = new OneEuro();
  filter.filter([[0, 0]], 1, 100);
  expect(filter.filter([[9, 9]], 1, 100)).toEqual([[9, 9]]);
});
