// Faces drawn over a photo as SVG, in the photo's own pixels.

const SVG = "http://www.w3.org/2000/svg";
// Colours at confidence 0, 0.5 and 1, as facekd.draw has them.
const SCALE = [[230, 40, 30], [255, 190, 40], [40, 200, 255]];
const PLAIN = "rgb(0 210 255)";
const NEAR = 24; // pixels of the screen within which the pointer finds a point

function make(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

/** The colour of a confidence in [0, 1]; null: the network gives none. */
export function colour(confidence) {
  if (confidence === null || confidence === undefined) return PLAIN;
  const place = 2 * Math.min(1, Math.max(0, confidence));
  const low = Math.min(1, Math.floor(place));
  const mixed = SCALE[low].map((value, i) => Math.round(value + (SCALE[low + 1][i] - value) * (place - low)));
  return `rgb(${mixed.join(" ")})`;
}

/** Draw the faces of an answer into an <svg>; markup: {name, count, contours}. */
export function drawFaces(svg, answer, markup) {
  // The centre of the top-left pixel is (0, 0), so its corner is (-0.5, -0.5).
  svg.setAttribute("viewBox", `-0.5 -0.5 ${answer.width} ${answer.height}`);
  svg.replaceChildren();
  for (const face of answer.faces) drawFace(svg, face, markup, answer.width);
}

function drawFace(svg, face, markup, width) {
  const group = make("g", { class: "face" }, svg);
  const xs = face.points.map(([x]) => x);
  const ys = face.points.map(([, y]) => y);
  const side = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
  const radius = Math.min(Math.max(side / 90, width / 240), side / 45);
  const [x0, y0, x1, y1] = face.box;
  make("rect", { class: "box", x: x0, y: y0, width: x1 - x0, height: y1 - y0 }, group);
  for (const { points, closed } of markup?.contours ?? []) {
    const line = points.map((index) => face.points[index].join(" ")).join(" L ");
    make("path", { class: "contour", d: `M ${line}${closed ? " Z" : ""}` }, group);
  }
  face.points.forEach(([x, y], index) => {
    make("circle", { class: "point", cx: x, cy: y, r: radius, fill: colour(face.confidence?.[index]) }, group);
  });
  face.points.forEach(([x, y], index) => {
    const text = { class: "number", x: x + 1.3 * radius, y: y - 0.9 * radius, "font-size": 3.2 * radius, "stroke-width": radius / 2 };
    make("text", text, group).textContent = index;
  });
}

/** The parts of the face that a point belongs to, such as "left eye". */
function partOf(markup, index) {
  return (markup?.contours ?? []).filter(({ points }) => points.includes(index)).map(({ name }) => name).join(", ");
}

/** Let pointer and arrow keys choose points; each is described in `readout`. */
export function choosePoints(stage, svg, answer, markup, readout) {
  const all = answer.faces.flatMap((face, number) => face.points.map((point, index) => ({ face, number, index, point })));
  if (!all.length) return;
  let mark = [];
  let chosen = -1;

  function choose(place) {
    if (place === chosen) return;
    chosen = place;
    mark.forEach((element) => element.remove());
    mark = [];
    if (place < 0) return;
    const { face, number, index, point: [x, y] } = all[place];
    const unit = answer.width / svg.clientWidth; // pixels of the photo in one of the screen
    const left = x > answer.width * 0.85;
    const text = { class: "number one", x: x + (left ? -10 : 10) * unit, y: Math.max(y - 8 * unit, 18 * unit),
      "font-size": 18 * unit, "stroke-width": 4 * unit, "text-anchor": left ? "end" : "start" };
    mark = [make("circle", { class: "chosen", cx: x, cy: y, r: 8 * unit }, svg), make("text", text, svg)];
    mark[1].textContent = index;
    const level = face.confidence ? `, confidence ${face.confidence[index].toFixed(2)}` : "";
    const seen = face.visible ? `, visible ${face.visible[index].toFixed(2)}` : "";
    const part = partOf(markup, index);
    readout.textContent = `Face ${number + 1}, point ${index}${part && ` (${part})`}${level}${seen}: ${x.toFixed(1)}, ${y.toFixed(1)}`;
  }

  svg.addEventListener("pointermove", (event) => {
    const matrix = svg.getScreenCTM();
    const distances = all.map(({ point: [x, y] }) => (
      Math.hypot(matrix.a * x + matrix.e - event.clientX, matrix.d * y + matrix.f - event.clientY)));
    const nearest = distances.indexOf(Math.min(...distances));
    choose(distances[nearest] <= NEAR ? nearest : -1);
  });
  svg.addEventListener("pointerleave", () => choose(-1));
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") choose(-1);
    if (step) {
      event.preventDefault();
      choose((Math.max(chosen, step > 0 ? -1 : 0) + step + all.length) % all.length);
    }
  });
}
