// The left side: what is asked for, and the sentence as it was understood.
import { base64 } from "./canvas.js";
import { ask, element, language, pick, say } from "./words.js";

const LARGEST = 8 << 20;
const $ = (id) => document.getElementById(id);

export class Asking {
  constructor(board, structures) {
    this.board = board;
    this.structures = structures;
    this.upload = null;
    this.heard = 0;
    for (const radio of document.getElementsByName("way")) radio.addEventListener("change", () => this.turn(radio.value));
    for (const name of ["tool", "sketch-tool"]) {
      for (const radio of document.getElementsByName(name)) {
        radio.addEventListener("change", () => { board.tool = radio.value; board.corners = []; this.hint(); board.show(); });
      }
    }
    for (const id of ["size", "guidance", "steps", "candidates", "level", "center", "width"]) {
      $(id).addEventListener("input", () => this.value(id));
    }
    $("size").addEventListener("input", () => { board.size = Number($("size").value); board.show(); });
    $("undo").addEventListener("click", () => board.undo());
    $("clear").addEventListener("click", () => board.clear());
    $("find").addEventListener("input", () => this.filter());
    $("find").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.shown()[0]?.querySelector("input").click();
    });
    $("another").addEventListener("click", () => { $("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0] % 100000); });
    $("upload").addEventListener("change", () => this.take($("upload").files[0]));
    $("upload-gone").addEventListener("click", () => { this.upload = null; this.turn(this.way); });
    let waiting;
    $("text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => this.listen(), 350); });
    document.addEventListener("spoken", () => { this.list(); this.turn(this.way); this.told(this.last); this.value("level"); });
  }

  get way() { return document.querySelector("input[name=way]:checked").value; }

  value(id) {
    const value = Number($(id).value);
    $(`${id}-value`).textContent = id === "level" && value < 0 ? say("level_any") : String(value);
  }

  turn(way) {
    const { board } = this;
    document.querySelector(`input[name=way][value=${way}]`).checked = true;
    $("board").hidden = way === "words";
    $("organ-tools").hidden = way !== "organs";
    $("sketch-tools").hidden = way !== "sketch";
    if (way === "words") return;
    if (board.way !== way) { board.way = way; board.corners = []; this.upload = null; }
    board.tool = document.querySelector(`input[name=${way === "organs" ? "tool" : "sketch-tool"}]:checked`).value;
    board.canvas.setAttribute("aria-label", say(`canvas_${way}`));
    $("upload-words").textContent = say(way === "organs" ? "upload_mask" : "upload_sketch");
    $("upload").accept = way === "organs" ? "image/png" : "image/png,image/jpeg,image/svg+xml,.svg";
    $("uploaded").hidden = !this.upload;
    $("uploaded-name").textContent = this.upload ? say("uploaded", { name: this.upload.name }) : "";
    this.list();
    this.hint();
    board.show();
    this.drawn();
  }

  hint() {
    $("hint").textContent = this.way === "organs" && this.board.tool === "polygon" ? say("polygon_hint") : "";
  }

  // After each change on the board.
  drawn() {
    $("empty").textContent = say(`empty_${this.board.way}`);
    $("empty").hidden = !this.board.empty || Boolean(this.upload);
    const used = this.board.used;
    for (const label of $("structures").children) label.querySelector(".used").textContent = used.has(Number(label.dataset.id)) && label.dataset.id !== "0" ? "✓" : "";
  }

  list() {
    const list = $("structures"), sketching = this.way === "sketch";
    if (sketching === false && !this.board.structure) this.board.structure = this.structures[0]?.id ?? 0;
    if (sketching !== this.sketching) { this.sketching = sketching; this.board.structure = sketching ? 0 : this.structures[0]?.id ?? 0; }
    const lines = sketching ? [{ id: 0, key: "", en: say("line_free"), zh: say("line_free"), colour: "#000000" }] : [];
    list.replaceChildren(...[...lines, ...this.structures].map((structure) => {
      const label = element("label", "", { "data-id": structure.id });
      label.dataset.words = [structure.en, structure.zh, structure.key].join(" ").toLowerCase();
      const radio = element("input", "", { type: "radio", name: "structure", value: structure.id });
      radio.checked = structure.id === this.board.structure;
      radio.addEventListener("change", () => {
        if (!this.board.choose(structure.id)) this.list();
        this.board.show();
        this.swatches();
      });
      const swatch = document.createElement("canvas");
      swatch.className = "swatch";
      swatch.width = swatch.height = 1;
      label.append(radio, swatch, element("span", language() === "zh" ? structure.zh : structure.en), element("span", "", { class: "used" }));
      return label;
    }));
    this.swatches();
    this.filter();
    this.drawn();
  }

  // The policy of the page allows no style attributes, so a colour is a canvas of one pixel.
  swatches() {
    for (const label of $("structures").children) {
      const id = Number(label.dataset.id), pen = label.querySelector("canvas").getContext("2d");
      const own = this.structures.find((structure) => structure.id === id)?.colour ?? "#000000";
      pen.fillStyle = this.way === "sketch" ? this.board.inks.get(id) ?? (id ? "#ffffff" : "#000000") : own;
      pen.fillRect(0, 0, 1, 1);
    }
  }

  filter() {
    const sought = $("find").value.trim().toLowerCase();
    for (const label of $("structures").children) label.hidden = !label.dataset.words.includes(sought);
  }

  shown() { return [...$("structures").children].filter((label) => !label.hidden); }

  async take(file) {
    $("upload").value = "";
    if (!file) return;
    if (file.size > LARGEST) return document.dispatchEvent(new CustomEvent("fault", { detail: say("too_large") }));
    this.upload = { name: file.name, data: base64(new Uint8Array(await file.arrayBuffer())) };
    this.turn(this.way);
  }

  async listen() {
    const text = $("text").value.trim(), turn = ++this.heard;
    if (!text) return this.told(null);
    const { status, body } = await ask("/api/understand", { text });
    if (turn === this.heard) this.told(status === 200 ? body : { settled: false, said: body.error, cannot: [] });
  }

  told(found) {
    this.last = found;
    const box = $("shown-back");
    box.hidden = !found;
    if (!found) return;
    box.classList.toggle("unsettled", !found.settled || found.cannot.length > 0);
    box.replaceChildren(element("h4", say("shown_back")), element("p", pick(found.said)));
    if (found.unclear?.length) {
      const line = element("p"), text = found.text;
      let at = 0;
      for (const [start, end] of found.unclear) {
        line.append(text.slice(at, start), element("mark", text.slice(start, end)));
        at = end;
      }
      line.append(text.slice(at));
      box.append(line);
    }
    if (found.cannot.length) {
      const list = element("ul");
      list.append(...found.cannot.map((reason) => element("li", pick(reason))));
      box.append(element("p", say("cannot")), list);
    }
  }

  async body(look) {
    const { way, board } = this, level = Number($("level").value);
    const sketched = way === "sketch";
    return {
      way: way === "organs" && this.upload ? "mask" : way,
      drawing: way === "organs" && !this.upload ? board.drawing() : null,
      upload: way === "words" ? null : this.upload?.data ?? (sketched ? await board.sketch() : null),
      wanted: {
        text: $("text").value.trim(),
        level: level < 0 ? null : level,
        flip: way !== "words" && $("flip").checked,
        partial: way !== "words" && $("partial").checked,
        legend: sketched && !this.upload ? board.legend((id) => this.structures.find((structure) => structure.id === id).key) : {},
        seed: Number($("seed").value) || 0,
        candidates: Number($("candidates").value),
        steps: Number($("steps").value),
        guidance: Number($("guidance").value),
      },
      look,
    };
  }
}
