/** Finds faces away from the page, which stays smooth meanwhile. */

import { Landmarker, Tracker } from '../dist/index.js';

const ready = Landmarker.create();
let tracker;

self.onmessage = async ({ data: { id, bitmap, time } }) => {
  try {
    const landmarker = await ready;
    if (!bitmap) { // asked whether all is loaded
      self.postMessage({ id, threads: landmarker.threads });
      return;
    }
    const start = performance.now();
    let faces;
    if (time === undefined) {
      tracker = undefined; // the next film starts anew
      faces = (await landmarker.detect(bitmap)).map((face) => [undefined, face]);
    } else {
      tracker ??= new Tracker(landmarker);
      faces = (await tracker.update(bitmap, time)).map((tracked) => [tracked.id, tracked.face]);
    }
    bitmap.close();
    const found = faces.map(([number, face]) => {
      const { points, markup, faceConfidence, pose, eyeOpenness, mouthOpenness } = face;
      return { number, points, contours: markup.contours, faceConfidence, pose, eyeOpenness, mouthOpenness };
    });
    self.postMessage({ id, faces: found, milliseconds: performance.now() - start });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};
