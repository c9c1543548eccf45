// Edits taken out of a model: what is left is the model that has had the others only.
#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "surgery/edit_session.h"
#include "surgery/files/undo.h"
#include "surgery/rewrite.h"
#include "tests/catch.h"
#include "tests/surgery/tiny_edit.h"
#include "tests/surgery/tolerances.h"

using namespace lancet;

namespace {

const std::map<std::string, Fact>& facts() {
  static const std::map<std::string, Fact> kFacts = [] {
    std::map<std::string, Fact> out;
    const auto add = [&](const char* id, const char* prompt, const char* subject,
                         const char* target) {
      out[id] = {.id = id, .subject = subject, .prompt = prompt, .target = target};
    };
    add("a", "the {} c", "ab", "the");
    add("b", "{} a c", "b", "the a b");
    add("c", "c b {} the", "a c", "b");
    add("d", "a {} b", "c", "a");
    add("e", "b {} a", "the a", "c");
    return out;
  }();
  return kFacts;
}

/// Edits `from` into `to` as run_edit does, without asking the model whether it holds.
void edit(const Scratch& scratch, const std::string& from, const std::string& to,
          const std::string& ids, const std::string& method, std::int64_t batch = 0) {
  const SurgeryModel model = load_surgery_model(scratch / from, {});
  const Editor& editor = find_editor(method);
  std::map<std::string, std::string> options;
  if (method != "ultraedit") options["steps"] = "6";
  if (editor.covariance) options["contexts"] = (scratch / "contexts.txt").string();
  if (method == "memit") options["lambda"] = "0.5";
  if (method == "ft") options["lr"] = "0.001";
  const Parameters parameters(editor.numbers, editor.words, options);
  std::vector<Fact> chosen;
  for (const char id : ids) chosen.push_back(facts().at(std::string(1, id)));
  const std::vector<std::int64_t> layers =
      editor.reach == Reach::kOne ? std::vector<std::int64_t>{1} : std::vector<std::int64_t>{0, 1};
  const EditPlan plan =
      editor.plan({model.decoder, model.tokenizer, chosen, layers,
                   [](std::int64_t) { return at::Tensor(); }, parameters, 0, batch});
  StageRecord stage = stage_record(editor, parameters, 0, layers, plan);
  stage.covariance_from = "none";
  stage.batch = batch;
  EditedModel edited = realise(model, plan, chosen, std::move(stage), false);
  std::vector<ChangedTensor> changed;
  for (auto& [name, tensor] : edited.stack.changed) changed.push_back(std::move(tensor));
  (void)write_edited(model.source, scratch / to, changed, edited.stack.delta, {}, Json::object());
}

void prepare(const Scratch& scratch, bool experts = false) {
  tiny_edit::save(scratch / "m", tiny_edit::weights(11, experts));
  write_file(scratch / "contexts.txt", "{}\nthe a {}\nb c a {}\n");
}

Json take_out(const Scratch& scratch, const std::string& from, const std::string& to,
              const std::string& ids) {
  UndoRequest request{.model = scratch / from, .ids = {}, .out = scratch / to, .command = {}};
  for (const char id : ids) request.ids.emplace_back(1, id);
  return undo_edits(request, {});
}

/// Largest relative distance of a matrix of two models, measured by what `a` changed of "m".
double distance(const Scratch& scratch, const std::string& a, const std::string& b) {
  const ModelSource one = ModelSource::open(scratch / a), two = ModelSource::open(scratch / b),
                    base = ModelSource::open(scratch / "m");
  double worst = 0;
  for (const TensorInfo& info : base.tensors()) {
    const std::string& name = info.name;
    if (name.find("down_proj") == std::string::npos && name.find(".w2.") == std::string::npos)
      continue;
    const auto x = plain_values(read_plain(one, name)), y = plain_values(read_plain(two, name)),
               z = plain_values(read_plain(base, name));
    double difference = 0, size = 1e-30;
    for (std::size_t i = 0; i < x.size(); ++i) {
      difference += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
      size += std::pow(static_cast<double>(x[i]) - static_cast<double>(z[i]), 2);
    }
    if (size > 1e-20) worst = std::max(worst, std::sqrt(difference / size));
  }
  return worst;
}

}  // namespace

TEST_CASE("undo: one edit of a batch out is the model edited with the others only", "[slow]") {
  const auto [method, batch, experts] =
      GENERATE(table<std::string, std::int64_t, bool>({{"memit", 0, false},
                                                       {"memit", 2, false},
                                                       {"memit", 2, true},
                                                       {"emmet", 0, false},
                                                       {"rome", 0, false},
                                                       {"rome", 0, true},
                                                       {"ft", 0, false},
                                                       {"ultraedit", 2, false}}));
  CAPTURE(method, batch, experts);
  const Scratch scratch;
  prepare(scratch, experts);
  edit(scratch, "m", "all", "abcde", method, batch);
  edit(scratch, "m", "others", "abde", method, batch);
  const Json result = take_out(scratch, "all", "undone", "c");
  CHECK(result["removed"] == Json({"c"}));
  CHECK(result["remaining"] == Json({"a", "b", "d", "e"}));
  CHECK(result["rewrites"] == true);
  CHECK(distance(scratch, "others", "undone") < tolerance::kReference);
  CHECK(distance(scratch, "others", "all") > 0.01);
  // What is left can be undone in turn, to the bit.
  (void)undo_model(scratch / "undone", {}, scratch / "base", {});
  CHECK(sha256_file(scratch / "base" / "model.safetensors") ==
        sha256_file(scratch / "m" / "model.safetensors"));
}

TEST_CASE("undo: what was edited on top of the edit that goes is written again") {
  const Scratch scratch;
  prepare(scratch);
  edit(scratch, "m", "e1", "ab", "memit");
  edit(scratch, "e1", "e2", "cd", "rome");
  edit(scratch, "m", "o1", "b", "memit");
  edit(scratch, "o1", "o2", "cd", "rome");
  const Json result = take_out(scratch, "e2", "undone", "a");
  CHECK(result["remaining"] == Json({"b", "c", "d"}));
  CHECK(distance(scratch, "o2", "undone") < tolerance::kReference);
  // Twice the same way is the same.
  (void)take_out(scratch, "undone", "twice", "b");
  edit(scratch, "m", "only", "cd", "rome");
  CHECK(distance(scratch, "only", "twice") < tolerance::kReference);
}

TEST_CASE("undo: edits that know nothing of each other need no engine") {
  const Scratch scratch;
  prepare(scratch);
  edit(scratch, "m", "e1", "ab", "memit");
  edit(scratch, "e1", "e2", "c", "rome");
  const Ledger ledger = load_delta(delta_path(scratch / "e2")).ledger;
  CHECK(ledger.stages[1].follows);
  CHECK_FALSE(needs_rewrite(ledger, {"c"}));
  CHECK_FALSE(needs_rewrite(ledger, {"a", "b", "c"}));
  CHECK(needs_rewrite(ledger, {"a"}));
  CHECK(needs_rewrite(ledger, {"a", "b"}));
  CHECK_THROWS_WITH(needs_rewrite(ledger, {"q"}), Catch::Contains("found 'q'"));
  (void)undo_model(scratch / "e2", {"c"}, scratch / "u", {});
  CHECK(sha256_file(scratch / "u" / "model.safetensors") ==
        sha256_file(scratch / "e1" / "model.safetensors"));
}

TEST_CASE("ledger: key, value and residual of every edit come back from the file") {
  const Scratch scratch;
  prepare(scratch);
  edit(scratch, "m", "e1", "abc", "memit");
  const Delta delta = load_delta(delta_path(scratch / "e1"));
  for (const EditRecord& edit : delta.ledger.edits) {
    CAPTURE(edit.id);
    CHECK(edit.value.size() == tiny_edit::kModel);
    REQUIRE(edit.keys.size() == 2);
    for (const auto& [name, key] : edit.keys) CHECK(key.size() == tiny_edit::kFf);
    CHECK(edit.residual < 1e-9);
  }
  // One less: the others keep theirs.
  save_delta(scratch / "less.safetensors", without_edits(delta, {"b"}));
  const Delta less = load_delta(scratch / "less.safetensors");
  CHECK(less.ledger.edits[1].value == delta.ledger.edits[2].value);
  CHECK(less.ledger.edits[1].keys == delta.ledger.edits[2].keys);
}
