// Results as files, in the formats of `facekd detect`.

function stem(name) {
  return name.replace(/\.[^.]*$/, "") || "photo";
}

function field(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A row per face, and for a photo without faces a row that only names it. */
export function toCsv(records, count) {
  const indices = [...Array(count).keys()];
  const columns = ["photo", "score", "box_x0", "box_y0", "box_x1", "box_y1", "face_confidence", "yaw", "pitch", "roll",
    ...indices.flatMap((i) => [`x${i}`, `y${i}`]), ...indices.map((i) => `confidence${i}`),
    ...indices.map((i) => `visible${i}`), "error"];
  const rows = [columns];
  for (const { photo, faces } of records) {
    if (!faces.length) rows.push([photo, ...Array(columns.length - 1).fill("")]);
    for (const { score, box, face_confidence, pose, points, confidence, visible } of faces) {
      rows.push([photo, score, ...box, face_confidence, pose?.yaw, pose?.pitch, pose?.roll, ...points.flat(),
        ...(confidence ?? Array(count).fill("")), ...(visible ?? Array(count).fill("")), ""]);
    }
  }
  return rows.map((row) => `${row.map(field).join(",")}\n`).join("");
}

/** The points of a face as iBUG has them: they count from 1. */
export function toPts(points) {
  const lines = points.map(([x, y]) => `${(x + 1).toFixed(4)} ${(y + 1).toFixed(4)}`);
  return ["version: 1", `n_points: ${points.length}`, "{", ...lines, "}", ""].join("\n");
}

/** The .pts files of all faces, as [name, text]. */
export function ptsFiles(records) {
  const taken = new Set();
  return records.flatMap(({ photo, faces }) => {
    let name = stem(photo);
    for (let i = 2; taken.has(name); i += 1) name = `${stem(photo)}-${i}`;
    taken.add(name);
    return faces.map(({ points }, i) => [i ? `${name}.face${i + 1}.pts` : `${name}.pts`, toPts(points)]);
  });
}

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  let rest = value;
  for (let bit = 0; bit < 8; bit += 1) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  return rest;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ TABLE[(value ^ byte) & 255];
  return (value ^ 0xffffffff) >>> 0;
}

/** A ZIP file of texts, [name, text] each, stored as they are. */
export function toZip(files) {
  const encoder = new TextEncoder();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, text] of files) {
    const [title, content] = [encoder.encode(name), encoder.encode(text)];
    const common = new DataView(new ArrayBuffer(26)); // what both headers have; 0x0800: names are UTF-8
    [[0, 20], [2, 0x0800], [4, 0], [6, 0], [8, 0x21]].forEach(([at, value]) => common.setUint16(at, value, true));
    [[10, crc32(content)], [14, content.length], [18, content.length]].forEach(([at, value]) => common.setUint32(at, value, true));
    common.setUint16(22, title.length, true);
    const local = [Uint8Array.of(0x50, 0x4b, 3, 4), new Uint8Array(common.buffer), title, content];
    const rest = new DataView(new ArrayBuffer(14));
    rest.setUint32(10, offset, true);
    directory.push(Uint8Array.of(0x50, 0x4b, 1, 2, 20, 0), new Uint8Array(common.buffer), new Uint8Array(rest.buffer), title);
    parts.push(...local);
    offset += local.reduce((sum, part) => sum + part.length, 0);
  }
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, directory.reduce((sum, part) => sum + part.length, 0), true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}

/** Let the browser save a file. */
export function save(name, content, type = "text/plain") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
