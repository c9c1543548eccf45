#include "surgery/rewrite.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "model/load_options.h"
#include "surgery/baseline.h"
#include "surgery/edit_session.h"
#include "surgery/files/facts.h"
#include "surgery/files/undo.h"

namespace lancet {
namespace {

using Ids = std::set<std::string, std::less<>>;

/// One stage's edits without those that go, as a delta of its own; nothing where none is left.
Delta only_stage(const Delta& all, std::int64_t stage, const Ids& gone) {
  std::vector<std::string> others;
  for (const EditRecord& edit : all.ledger.edits) {
    if (edit.stage != stage || gone.contains(edit.id)) others.push_back(edit.id);
  }
  Delta out = without_edits(all, others);
  out.ledger.stages = {all.ledger.stages[static_cast<std::size_t>(stage)]};
  for (EditRecord& edit : out.ledger.edits) edit.stage = 0;
  return out;
}

at::Tensor tensor_of(const std::vector<float>& values) {
  return at::tensor(values, at::kFloat).to(at::kDouble);
}

/// Values that stay what they were: of the facts in turns up to that of the first fact that goes.
/// They were found on weights that it had no part in.
std::map<std::string, at::Tensor> kept_values(const Ledger& ledger, std::int64_t stage,
                                              const Ids& gone, const Editor& editor) {
  const StageRecord& record = ledger.stages[static_cast<std::size_t>(stage)];
  std::vector<const EditRecord*> edits;
  for (const EditRecord& edit : ledger.edits) {
    if (edit.stage == stage) edits.push_back(&edit);
  }
  const auto size = static_cast<std::size_t>(!editor.batches    ? 1
                                             : record.batch > 0 ? record.batch
                                                                : std::ssize(edits));
  const auto first = static_cast<std::size_t>(
      std::ranges::find_if(edits, [&](const EditRecord* edit) { return gone.contains(edit->id); }) -
      edits.begin());
  std::map<std::string, at::Tensor> out;
  for (std::size_t i = 0; i < edits.size() && i / size <= first / size; ++i) {
    if (!edits[i]->value.empty()) out[edits[i]->id] = tensor_of(edits[i]->value);
  }
  return out;
}

/// A model as it is written back, stage by stage.
class Rewriter {
 public:
  Rewriter(const ModelSource& source, const UndoFile& undo, const Delta& all, const Ids& gone,
           const RuntimeOptions& runtime)
      : all_(all),
        gone_(gone),
        config_(source.config()),
        tokenizer_(Tokenizer::open(source)),
        model_(load_decoder(source, runtime)) {
    for (const UndoTensor& tensor : undo.tensors) {
      originals_[tensor.name] = now_[tensor.name] = tensor.original;
      model_ = with_plain(model_, tensor.name, tensor.original);
    }
  }

  [[nodiscard]] Delta run() {
    Delta out;
    bool changed = false;
    const auto stages = std::ssize(all_.ledger.stages);
    for (std::int64_t s = 0; s < stages; ++s) {
      std::int64_t left = 0;
      const bool loses = std::ranges::any_of(all_.ledger.edits, [&](const EditRecord& edit) {
        return edit.stage == s && gone_.contains(edit.id);
      });
      Delta stage = only_stage(all_, s, gone_);
      left = std::ssize(stage.ledger.edits);
      const bool follows = changed && stage.ledger.stages.front().follows;
      changed = changed || loses;
      if (left == 0) continue;
      if (loses || follows) stage = write_again(stage, s, loses && !follows);
      apply(stage);
      if (out.ledger.stages.empty()) {
        stage.ledger.stages.front().follows = false;
        out = std::move(stage);
      } else {
        out = append_delta(out, stage);
      }
    }
    return out;
  }

 private:
  const Delta& all_;
  const Ids& gone_;
  const Json& config_;
  Tokenizer tokenizer_;
  Decoder model_;
  std::map<std::string, PlainTensor> originals_, now_;

  static Decoder load_decoder(const ModelSource& source, const RuntimeOptions& runtime) {
    return Decoder::load(source, load_options(runtime));
  }

  void apply(const Delta& stage) {
    for (std::size_t i = 0; i < stage.tensors.size(); ++i) {
      const LedgerTensor& info = stage.ledger.tensors[i];
      PlainTensor& tensor = now_.at(info.name);
      tensor = apply_to_tensor(tensor, info, stage.tensors[i], stage.ledger);
      model_ = with_plain(model_, info.name, tensor);
    }
  }

  /// The facts of `old` by the same editor on the model as it is now.
  [[nodiscard]] Delta write_again(const Delta& old, std::int64_t index, bool keep_values) {
    const StageRecord& record = old.ledger.stages.front();
    const Editor& editor = find_editor(record.method);
    std::vector<Fact> facts;
    for (const EditRecord& edit : old.ledger.edits) {
      facts.push_back(parse_fact(edit.fact, 1));
      facts.back().id = edit.id;
    }
    log::verbose(fmt::format("{} writes {} facts again", record.method, facts.size()));
    const Parameters parameters = parameters_of(editor, record.parameters);
    Baseline baseline(model_, tokenizer_, config_);
    CovarianceSource covariance(model_, tokenizer_, config_,
                                editor.covariance ? record.covariance_from : "none");
    EditInput input{model_,
                    tokenizer_,
                    facts,
                    record.layers,
                    [&](std::int64_t layer) { return covariance.matrix(layer); },
                    parameters,
                    record.seed,
                    record.batch,
                    [&](std::int64_t count) { return baseline.contexts(count, record.seed); }};
    if (keep_values) input.values = kept_values(all_.ledger, index, gone_, editor);
    const Json& contexts = parameters.json().value("contexts", Json("auto"));
    if (contexts != "auto") input.given_contexts = record.contexts;
    const EditPlan plan = editor.plan(input);
    StageRecord stage = stage_record(editor, parameters, record.seed, record.layers, plan);
    stage.covariance = covariance.identities();
    stage.covariance_from = record.covariance_from;
    stage.batch = record.batch;
    stage.follows = record.follows;
    Delta out = make_delta(facts, plan, std::move(stage), tokenizer_,
                           [&](const std::string& name) { return originals_.at(name); });
    for (EditRecord& edit : out.ledger.edits)
      edit.metrics = all_.ledger.find_edit(edit.id)->metrics;
    return out;
  }

  /// Parameters as the ledger tells them.
  static Parameters parameters_of(const Editor& editor, const Json& values) {
    std::map<std::string, std::string> given;
    for (const auto& [name, value] : values.items())
      given[name] = value.is_string() ? value.get<std::string>() : dump_json(value);
    return {editor.numbers, editor.words, given};
  }
};

}  // namespace

Json undo_edits(const UndoRequest& request, const RuntimeOptions& runtime) {
  UndoOptions options{request.force, request.plan, request.command, {}};
  const Ids gone(request.ids.begin(), request.ids.end());
  options.rewrite = [&](const ModelSource& edited, const UndoFile& undo, const Delta& all,
                        const std::vector<std::string>&) {
    return Rewriter(edited, undo, all, gone, runtime).run();
  };
  return undo_model(request.model, request.ids, request.out, options);
}

}  // namespace lancet
