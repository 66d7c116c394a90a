// The studio: wires the board, the request and the result together.
import { Asking } from "./asking.js";
import { Board } from "./canvas.js";
import { Result } from "./result.js";
import { ask, learn, pick, preferred, say, speak } from "./words.js";

const $ = (id) => document.getElementById(id);
const { status, body: about } = await ask("/api/start");
if (status !== 200) {
  $("status").textContent = pick(about.error);
  $("status").classList.add("fault");
  throw new Error("the studio did not start");
}
learn(about.words);

const board = new Board($("canvas"), about.structures, () => asking.drawn());
const asking = new Asking(board, about.structures);
const result = new Result(async (name) => {
  const { status: found, body } = await ask(`/api/figures/${name}/labels`);
  if (found !== 200) return fault(pick(body.error));
  asking.upload = null;
  asking.turn("organs");
  board.load(body.side, Uint8Array.from(atob(body.ids), (letter) => letter.charCodeAt(0)));
  fine(say("edited"));
});

const fault = (text) => { $("status").textContent = text; $("status").classList.add("fault"); };
const fine = (text) => { $("status").textContent = text; $("status").classList.remove("fault"); };
document.addEventListener("fault", (event) => fault(event.detail));

$("request").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("make");
  if (button.disabled) return;
  button.disabled = true;
  result.working(true);
  fine(say("making"));
  const began = performance.now();
  result.names = null;
  const { status: found, body } = await ask("/api/figures", await asking.body(result.look()));
  if (found === 200) {
    await result.show(body, true);
    fine(say("made", { seconds: ((performance.now() - began) / 1000).toFixed(1) }));
  } else if (body.refused) {
    result.refuse(body.refused);
    fault(say("refused"));
  } else fault(pick(body.error));
  result.working(false);
  button.disabled = false;
  if (innerWidth <= 1000 && (found === 200 || body.refused)) $("figure-title").scrollIntoView();
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=radio]):not([type=range]), textarea, select");
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing) {
    event.preventDefault();
    board.undo();
  }
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") $("request").requestSubmit();
});

const tellModel = () => {
  const { model } = about;
  const line = say("model_line", { name: model.name, version: model.version, verdict: model.verdict ?? say("no_report") });
  const notes = [model.stale.length ? `${say("stale")}: ${model.stale.join("; ")}` : "", model.missing.length ? `${say("missing")}: ${model.missing.join("; ")}` : ""];
  $("model").textContent = line;
  $("model").title = notes.filter(Boolean).join("\n");
};
document.addEventListener("spoken", tellModel);
for (const language of ["en", "zh"]) $(`language-${language}`).addEventListener("click", () => speak(language));
$("steps").value = String(about.model.steps);
asking.value("steps");
speak(preferred());
document.body.dataset.ready = "yes";
