/** The demo's page: shows what the worker finds in photos and in the camera's pictures. */

const element = (id) => document.getElementById(id);
const [view, status, speed, table, camera] = ['view', 'status', 'speed', 'faces', 'camera'].map(element);
const COLOURS = ['#28c8ff', '#ffbe28', '#7ee787', '#ff7b72', '#d2a8ff'];

const worker = new Worker('worker.js', { type: 'module' });
const waiting = new Map();
let asked = 0;

worker.onmessage = ({ data: { id, error, ...answer } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error) reject(new Error(error));
  else resolve(answer);
};
worker.onerror = ({ message }) => tell(`The worker stopped: ${message}`);

/** Ask the worker; an image is handed over. */
function ask(question, transfer = []) {
  return new Promise((resolve, reject) => {
    waiting.set(++asked, { resolve, reject });
    worker.postMessage({ id: asked, ...question }, transfer);
  });
}

function tell(text) {
  if (status.textContent !== text) status.textContent = text; // read out once
}

let shown; // the last image and its faces, to be drawn again

/** Draw an image and what was found in it. */
function draw(image, faces) {
  shown = { image, faces };
  const { width, height } = image;
  if (view.width !== width || view.height !== height) [view.width, view.height] = [width, height];
  const context = view.getContext('2d');
  context.drawImage(image, 0, 0);
  context.lineJoin = 'round';
  faces.forEach(({ points, contours, number }, index) => {
    const xs = points.map(([x]) => x);
    const size = Math.max(...xs) - Math.min(...xs);
    context.strokeStyle = context.fillStyle = COLOURS[(number ?? index) % COLOURS.length];
    context.lineWidth = Math.max(1, size / 120);
    // A point's (0, 0) is the centre of a pixel, the canvas's the corner.
    const at = (place) => [points[place][0] + 0.5, points[place][1] + 0.5];
    for (const { points: line, closed } of element('contours').checked ? contours : []) {
      context.beginPath();
      line.forEach((place) => context.lineTo(...at(place)));
      if (closed) context.closePath();
      context.stroke();
    }
    for (const place of element('points').checked ? points.keys() : []) {
      context.beginPath();
      context.arc(...at(place), Math.max(1.2, size / 90), 0, 2 * Math.PI);
      context.fill();
    }
  });
  const count = `${faces.length} ${faces.length === 1 ? 'face' : 'faces'}`;
  view.setAttribute('aria-label', `The picture, with the landmarks of ${count}`);
  table.hidden = !faces.length;
  const format = (value, digits = 0) => {
    return value === undefined || value === null ? '' : (Number(value.toFixed(digits)) || 0).toFixed(digits); // no -0
  };
  const rows = faces.map(({ number, faceConfidence, pose, eyeOpenness: eyes, mouthOpenness }, index) => {
    const row = document.createElement('tr');
    const values = [
      `${number ?? index}`, format(faceConfidence, 2), format(pose?.yaw), format(pose?.pitch), format(pose?.roll),
      eyes ? format((eyes.left + eyes.right) / 2, 2) : '', format(mouthOpenness, 2),
    ];
    for (const value of values) row.insertCell().textContent = value;
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
  return count;
}

async function openPhoto(file) {
  stopCamera();
  try {
    const image = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no image that this browser can open`);
    });
    tell('Looking for faces ...');
    const copy = await createImageBitmap(image);
    const { faces, milliseconds } = await ask({ bitmap: copy }, [copy]);
    tell(`${draw(image, faces)} in ${file.name}`);
    speed.textContent = `${milliseconds.toFixed(0)} ms`;
  } catch (error) {
    tell(error.message);
  }
}

let film; // the video that plays, while the camera is on

async function startCamera() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: 'user' } });
    film = Object.assign(document.createElement('video'), { srcObject: stream, muted: true, playsInline: true });
    camera.textContent = 'Stop the camera';
    camera.setAttribute('aria-pressed', 'true');
    await film.play();
    await follow(film);
  } catch (error) {
    tell(error.name === 'NotAllowedError' ? 'The camera may not be used; allow it in the browser.' : error.message);
    stopCamera();
  }
}

/** Follow faces while a video plays. */
async function follow(video) {
  let rate = 0;
  let last = performance.now();
  while (film === video) {
    const image = await createImageBitmap(video);
    const copy = await createImageBitmap(image);
    const { faces, milliseconds } = await ask({ bitmap: copy, time: performance.now() / 1000 }, [copy]);
    if (film !== video) break;
    shown?.image.close?.();
    tell(`${draw(image, faces)} in view`);
    const now = performance.now();
    rate = 0.9 * rate + 100 / (now - last);
    last = now;
    speed.textContent = `${rate.toFixed(0)} frames/s, ${milliseconds.toFixed(0)} ms of work per frame`;
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  film?.srcObject.getTracks().forEach((track) => track.stop());
  film = undefined;
  camera.textContent = 'Start the camera';
  camera.setAttribute('aria-pressed', 'false');
}

camera.addEventListener('click', () => (film ? stopCamera() : startCamera()));
element('photo').addEventListener('change', ({ target }) => {
  if (target.files.length) openPhoto(target.files[0]);
  target.value = ''; // the same photo can be opened again
});
for (const box of ['contours', 'points']) {
  element(box).addEventListener('change', () => shown && draw(shown.image, shown.faces));
}
view.addEventListener('dragover', (event) => {
  event.preventDefault();
  view.classList.add('dropping');
});
view.addEventListener('dragleave', () => view.classList.remove('dropping'));
view.addEventListener('drop', (event) => {
  event.preventDefault();
  view.classList.remove('dropping');
  const [file] = event.dataTransfer.files;
  if (file) openPhoto(file);
});

camera.disabled = true;
try {
  const { threads } = await ask({});
  tell(`Ready, with ${threads} ${threads === 1 ? 'thread' : 'threads'}.`);
  camera.disabled = !navigator.mediaDevices;
} catch (error) {
  tell(error.message);
}
