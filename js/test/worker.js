/** Finds faces in a module worker: what the test of threads runs. */

import { Landmarker } from '/dist/index.js';

self.onmessage = async ({ data: { photo, threads } }) => {
  try {
    const landmarker = await Landmarker.create({ threads });
    const image = await createImageBitmap(await (await fetch(photo)).blob());
    const faces = await landmarker.detect(image);
    const found = { threads: landmarker.threads, isolated: self.crossOriginIsolated, faces: faces.map(({ points }) => points) };
    landmarker.delete();
    self.postMessage(found);
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
};
