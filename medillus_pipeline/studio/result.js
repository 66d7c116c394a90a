// The right side: the figure or the refusal, its checks, its look, its names, its files, and what is said of it.
import { ask, element, language, pick, say } from "./words.js";

const $ = (id) => document.getElementById(id);

export class Result {
  constructor(edit) {
    this.shown = null;
    this.names = null;
    this.turn = 0;
    let waiting;
    const later = (delay) => () => { clearTimeout(waiting); waiting = setTimeout(() => this.change(), delay); };
    for (const id of ["style", "marks", "palette", "language"]) $(id).addEventListener("change", later(0));
    for (const id of ["center", "width"]) $(id).addEventListener("input", later(250));
    this.later = later(250);
    $("names-all").addEventListener("click", () => this.tick(true));
    $("names-none").addEventListener("click", () => this.tick(false));
    $("edit").addEventListener("click", () => edit(this.shown.name));
    for (const decision of ["approve", "reject"]) $(decision).addEventListener("click", () => this.judge(decision));
    $("signed").addEventListener("change", () => this.hand($("signed").files[0]));
    document.addEventListener("spoken", () => { if (this.shown) this.tell(); if (this.refusal) this.refuse(this.refusal); });
  }

  look() {
    const names = this.names && this.shown && this.names.size < this.shown.present.length ? [...this.names] : [];
    return {
      style: $("style").value, marks: $("marks").value || null, palette: $("palette").value, language: $("language").value,
      center: Number($("center").value), width: Number($("width").value), structures: names,
    };
  }

  working(now) { $("sheet").classList.toggle("working", now); }

  // A figure that was made, or made over. `fresh` forgets which names were chosen.
  async show(told, fresh) {
    this.shown = told;
    this.refusal = null;
    if (fresh) this.names = new Set(told.present.map((structure) => structure.key));
    $("refused").hidden = true;
    const image = $("figure");
    image.src = `/figures/${told.name}/shown`;
    await image.decode().catch(() => undefined);
    image.hidden = false;
    $("no-figure").hidden = true;
    $("about").hidden = $("judging").hidden = false;
    this.tell();
  }

  tell() {
    const { shown } = this;
    $("figure").alt = pick(shown.alt);
    $("downloads").replaceChildren(...shown.files.map((kind) =>
      element("a", say(`kind_${kind}`), { class: "button", href: `/figures/${shown.name}/${kind}`, download: "" })));
    $("names").replaceChildren(...shown.present.map((structure) => {
      const item = element("li"), label = element("label"), box = element("input", "", { type: "checkbox", value: structure.key });
      box.checked = this.names.has(structure.key);
      box.addEventListener("change", () => {
        if (box.checked) this.names.add(structure.key); else this.names.delete(structure.key);
        this.later();
      });
      label.append(box, element("span", language() === "zh" ? structure.zh : structure.en));
      if (structure.confidence !== null) {
        label.append(element("span", `${Math.round(structure.confidence * 100)}%`, { class: "score", title: say("confidence") }));
      }
      item.append(label);
      return item;
    }));
    $("checks").replaceChildren(...answered(shown.answer));
  }

  refuse(refusal) {
    this.refusal = refusal;
    const box = $("refused"), list = element("ul");
    list.append(...refusal.reasons.map((reason) => element("li", pick(reason))));
    box.replaceChildren(element("h3", `${say("refused")}: ${pick(refusal.headline)}`), element("p", say("refused_why")), list);
    if (refusal.answer) box.append(...answered(refusal.answer));
    box.hidden = false;
  }

  tick(every) {
    this.names = new Set(every ? this.shown.present.map((structure) => structure.key) : this.shown.present.slice(0, 1).map((s) => s.key));
    this.tell();
    this.change();
  }

  async change() {
    if (!this.shown) return;
    const turn = ++this.turn;
    if (!this.names.size) this.names.add(this.shown.present[0].key);
    this.working(true);
    const { status, body } = await ask(`/api/figures/${this.shown.name}/look`, this.look());
    if (turn !== this.turn) return;
    this.working(false);
    if (status === 200) await this.show(body, false);
    else document.dispatchEvent(new CustomEvent("fault", { detail: pick(body.error ?? body.refused?.headline) }));
  }

  async judge(decision) {
    const { status, body } = await ask(`/api/figures/${this.shown.name}/note`, { decision, comment: $("comment").value });
    this.noted(status, body);
  }

  async hand(file) {
    $("signed").value = "";
    if (!file) return;
    const { status, body } = await ask("/api/verdict", file);
    this.noted(status, body);
  }

  noted(status, body) {
    $("noted").textContent = pick(body.said ?? body.error);
    $("noted").classList.toggle("fault", status !== 200);
  }
}

// What was understood, and how each candidate fared.
const answered = (answer) => {
  const parts = [];
  if (pick(answer.understood)) parts.push(element("p", pick(answer.understood)));
  if (answer.remarks.length) {
    const list = element("ul");
    list.append(...answer.remarks.map((remark) => element("li", pick(remark))));
    parts.push(list);
  }
  answer.candidates.forEach((candidate, place) => {
    const line = element("p", `${say("candidate", { number: place + 1, seed: candidate.seed })}: `, { class: "candidate" });
    line.append(element("span", say(candidate.passed ? "passed" : "failed"), { class: candidate.passed ? "pass" : "fail" }));
    if (place === answer.chosen) line.append(`, ${say("chosen")}`);
    const list = element("ul");
    list.append(...candidate.checks.map((check) => element("li", `${check.passed ? "✓" : "✗"} ${pick(check.said)}`, { class: check.passed ? "pass" : "fail" })));
    parts.push(line, list);
  });
  return parts;
};
