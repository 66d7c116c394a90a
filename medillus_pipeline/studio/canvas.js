// The board: a canvas with two layers, organs as a label map and a sketch as strokes. Column 0 is the patient's right.
const SIDE = 256;
const MOST_UNDONE = 60;
const INKS = ["#d62828", "#2a52d8", "#2c9a3f", "#c026d3", "#c99700", "#0a9aa6"];

export const base64 = (bytes) => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
};

export class Board {
  constructor(canvas, structures, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.colours = new Uint8ClampedArray(256 * 4);
    this.beneath = new Set();
    for (const { id, key, colour } of structures) {
      const value = parseInt(colour.slice(1), 16);
      this.colours.set([value >> 16, (value >> 8) & 255, value & 255, 255], id * 4);
      if (key === "body") this.beneath.add(id);
    }
    this.colours.set([255, 255, 255, 255], 0);
    this.ids = new Uint8Array(SIDE * SIDE);
    this.strokes = [];
    this.past = { organs: [], sketch: [] };
    this.inks = new Map();
    this.way = "organs";
    this.tool = "brush";
    this.size = 16;
    this.structure = 0;
    this.corners = [];
    this.pointer = null;
    this.down = false;
    this.small = document.createElement("canvas");
    this.small.width = this.small.height = SIDE;
    this.listen();
    this.show();
  }

  get ink() { return this.structure ? this.inks.get(this.structure) ?? "#000000" : "#000000"; }

  // Choose what is drawn next. False where a sketch has no colour left for one more name.
  choose(structure) {
    if (this.way === "sketch" && structure && !this.inks.has(structure)) {
      const used = new Set(this.strokes.map((stroke) => stroke.colour));
      for (const [of, colour] of this.inks) if (!used.has(colour)) this.inks.delete(of);
      const free = INKS.find((colour) => ![...this.inks.values()].includes(colour));
      if (!free) return false;
      this.inks.set(structure, free);
    }
    this.structure = structure;
    return true;
  }

  listen() {
    const { canvas } = this;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.focus();
      if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
      this.pointer = place(event);
      this.begin();
    });
    canvas.addEventListener("pointermove", (event) => {
      for (const one of event.getCoalescedEvents?.() ?? [event]) this.move(place(one));
    });
    canvas.addEventListener("pointerup", () => this.lift());
    canvas.addEventListener("pointercancel", () => this.lift());
    canvas.addEventListener("pointerleave", () => { if (!this.down) { this.pointer = null; this.show(); } });
    canvas.addEventListener("dblclick", () => this.close());
    canvas.addEventListener("blur", () => this.lift());
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const far = event.shiftKey ? 16 / SIDE : 4 / SIDE;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step) {
      const [x, y] = this.pointer ?? [0.5, 0.5];
      this.move([x + step[0] * far, y + step[1] * far].map((v) => Math.min(1, Math.max(0, v))));
    } else if (event.key === " ") {
      this.pointer ??= [0.5, 0.5];
      if (this.down) this.lift();
      else {
        this.begin();
        if (this.way === "organs") this.lift();
      }
    } else if (event.key === "Enter") this.close();
    else if (event.key === "Escape") { this.corners = []; this.lift(); this.show(); }
    else return;
    event.preventDefault();
  }

  begin() {
    if (this.way === "organs" && !this.structure && this.tool !== "eraser") return;
    if (this.tool === "polygon") {
      const [first] = this.corners, last = this.corners.at(-1);
      if (this.corners.length > 2 && distance(first, this.pointer) < 0.012) return this.close();
      if (!last || distance(last, this.pointer) > 0.004) this.corners.push(this.pointer);
      return this.show();
    }
    this.down = true;
    if (this.way === "organs") {
      this.remember(this.ids.slice());
      this.paint(this.pointer, this.pointer);
    } else {
      this.remember(this.strokes.slice());
      const erase = this.tool === "eraser";
      const width = Math.max(2, this.size * (erase ? 1.5 : 0.3));
      this.strokes = [...this.strokes, { points: [this.pointer], width, colour: erase ? "#ffffff" : this.ink, of: erase ? 0 : this.structure }];
    }
    this.show();
  }

  move(to) {
    const from = this.pointer ?? to;
    this.pointer = to;
    if (this.down && this.way === "organs") this.paint(from, to);
    if (this.down && this.way === "sketch") this.strokes.at(-1).points.push(to);
    this.show();
  }

  lift() {
    if (!this.down) return;
    this.down = false;
    this.show();
    this.changed();
  }

  // A thick line from one place to the other.
  paint([x0, y0], [x1, y1]) {
    const radius = this.size / 2, id = this.tool === "eraser" ? 0 : this.structure;
    const steps = Math.max(1, Math.ceil((distance([x0, y0], [x1, y1]) * SIDE) / Math.max(1, radius / 3)));
    for (let step = 0; step <= steps; step++) {
      const cx = (x0 + ((x1 - x0) * step) / steps) * SIDE, cy = (y0 + ((y1 - y0) * step) / steps) * SIDE;
      for (let row = Math.max(0, Math.floor(cy - radius)); row < Math.min(SIDE, cy + radius); row++) {
        for (let column = Math.max(0, Math.floor(cx - radius)); column < Math.min(SIDE, cx + radius); column++) {
          if ((row + 0.5 - cy) ** 2 + (column + 0.5 - cx) ** 2 <= radius ** 2) this.put(row * SIDE + column, id);
        }
      }
    }
  }

  // What encloses others is laid beneath them, so that nobody has to draw the body first.
  put(at, id) {
    if (!this.beneath.has(id) || !this.ids[at]) this.ids[at] = id;
  }

  close() {
    const corners = this.corners;
    this.corners = [];
    if (corners.length > 2 && this.structure) {
      this.remember(this.ids.slice());
      for (let row = 0; row < SIDE; row++) {
        const y = (row + 0.5) / SIDE, crossings = [];
        corners.forEach(([x1, y1], i) => {
          const [x2, y2] = corners[(i + 1) % corners.length];
          if (y1 <= y !== y2 <= y) crossings.push(x1 + ((y - y1) / (y2 - y1)) * (x2 - x1));
        });
        crossings.sort((a, b) => a - b);
        for (let i = 0; i + 1 < crossings.length; i += 2) {
          const last = Math.min(SIDE - 1, Math.ceil(crossings[i + 1] * SIDE - 0.5) - 1);
          for (let column = Math.max(0, Math.ceil(crossings[i] * SIDE - 0.5)); column <= last; column++) this.put(row * SIDE + column, this.structure);
        }
      }
      this.changed();
    }
    this.show();
  }

  remember(former) {
    const past = this.past[this.way];
    past.push(former);
    if (past.length > MOST_UNDONE) past.shift();
  }

  undo() {
    if (this.corners.length) this.corners.pop();
    else {
      const former = this.past[this.way].pop();
      if (former && this.way === "organs") this.ids = former;
      else if (former) this.strokes = former;
    }
    this.show();
    this.changed();
  }

  clear() {
    this.corners = [];
    if (this.empty) return;
    this.remember(this.way === "organs" ? this.ids : this.strokes);
    if (this.way === "organs") this.ids = new Uint8Array(SIDE * SIDE);
    else this.strokes = [];
    this.show();
    this.changed();
  }

  // A label map of any side, in place of what is drawn.
  load(side, ids) {
    this.way = "organs";
    this.remember(this.ids);
    const made = new Uint8Array(SIDE * SIDE);
    for (let row = 0; row < SIDE; row++) {
      const of = Math.floor(((row + 0.5) * side) / SIDE) * side;
      for (let column = 0; column < SIDE; column++) made[row * SIDE + column] = ids[of + Math.floor(((column + 0.5) * side) / SIDE)];
    }
    this.ids = made;
    this.show();
    this.changed();
  }

  get empty() { return this.way === "organs" ? !this.ids.some(Boolean) : !this.strokes.length; }
  get used() { return new Set(this.way === "organs" ? this.ids : this.strokes.map((stroke) => stroke.of)); }
  drawing() { return { side: SIDE, ids: base64(this.ids) }; }

  legend(keyOf) {
    return Object.fromEntries(this.strokes.filter((stroke) => stroke.of).map((stroke) => [stroke.colour, keyOf(stroke.of)]));
  }

  async sketch() {
    const sheet = document.createElement("canvas");
    sheet.width = sheet.height = 512;
    this.lines(sheet.getContext("2d"), 512);
    const blob = await new Promise((done) => sheet.toBlob(done, "image/png"));
    return base64(new Uint8Array(await blob.arrayBuffer()));
  }

  lines(pen, side) {
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, side, side);
    pen.lineCap = pen.lineJoin = "round";
    for (const { points, width, colour } of this.strokes) {
      pen.strokeStyle = colour;
      pen.lineWidth = (width * side) / 512;
      pen.beginPath();
      points.forEach(([x, y], i) => (i ? pen.lineTo(x * side, y * side) : pen.moveTo(x * side, y * side)));
      if (points.length === 1) pen.lineTo(points[0][0] * side + 0.01, points[0][1] * side);
      pen.stroke();
    }
  }

  show() {
    const pen = this.canvas.getContext("2d"), side = this.canvas.width;
    if (this.way === "sketch") this.lines(pen, side);
    else {
      const image = new ImageData(SIDE, SIDE), view = new Uint32Array(image.data.buffer), colours = new Uint32Array(this.colours.buffer);
      for (let at = 0; at < view.length; at++) view[at] = colours[this.ids[at]];
      this.small.getContext("2d").putImageData(image, 0, 0);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(this.small, 0, 0, side, side);
    }
    pen.font = "600 22px sans-serif";
    pen.fillStyle = "rgba(23, 32, 43, 0.75)";
    pen.strokeStyle = "rgba(255, 255, 255, 0.9)";
    pen.lineWidth = 4;
    pen.textBaseline = "middle";
    for (const [letter, x, y, align] of [["R", 8, side / 2, "left"], ["L", side - 8, side / 2, "right"], ["A", side / 2, 16, "center"], ["P", side / 2, side - 14, "center"]]) {
      pen.textAlign = align;
      pen.strokeText(letter, x, y);
      pen.fillText(letter, x, y);
    }
    if (this.corners.length) {
      pen.beginPath();
      for (const [x, y] of this.pointer ? [...this.corners, this.pointer] : this.corners) pen.lineTo(x * side, y * side);
      pen.strokeStyle = "#17202b";
      pen.lineWidth = 2;
      pen.stroke();
      for (const [x, y] of this.corners) pen.fillRect(x * side - 3, y * side - 3, 6, 6);
    }
    if (this.pointer && this.tool !== "polygon") {
      const radius = this.way === "organs" ? (this.size / 2 / SIDE) * side : Math.max(2, this.size * (this.tool === "eraser" ? 1.5 : 0.3)) / 2;
      pen.beginPath();
      pen.arc(this.pointer[0] * side, this.pointer[1] * side, Math.max(radius, 2), 0, 7);
      pen.strokeStyle = "#17202b";
      pen.lineWidth = 1.2;
      pen.stroke();
    }
    if (this.pointer && this.tool === "polygon" && document.activeElement === this.canvas) {
      const [x, y] = this.pointer.map((v) => v * side);
      pen.fillRect(x - 7, y - 0.6, 14, 1.2);
      pen.fillRect(x - 0.6, y - 7, 1.2, 14);
    }
  }
}

const distance = ([x0, y0], [x1, y1]) => Math.hypot(x1 - x0, y1 - y0);
