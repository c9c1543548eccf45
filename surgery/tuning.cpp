#include "surgery/tuning.h"

#include <algorithm>
#include <cmath>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "model/runtime.h"
#include "surgery/adam.h"
#include "surgery/key.h"
#include "surgery/subject.h"
#include "surgery/turns.h"

namespace lancet {
namespace {

constexpr std::int64_t kChunkRows = 8;  ///< rows of a pass; fixes the order of sums

TuningRow tuning_row(const Tokenizer& tokenizer, const Fact& fact, Objective objective, bool end) {
  const std::string prompt = fill_template(fact.prompt, fact.subject);
  TuningRow row;
  row.ids = tokenizer.encode(prompt).ids;
  row.targets = target_tokens(tokenizer, prompt, fact.target);
  if (end) row.targets.push_back(tokenizer.eos().value());
  const std::int64_t last = std::ssize(row.ids) - 1;
  for (std::int64_t t = 0; t < std::ssize(row.targets); ++t)
    row.places.push_back(objective == Objective::kLast ? last : last + t);
  if (objective == Objective::kTarget)
    row.ids.insert(row.ids.end(), row.targets.begin(), row.targets.end() - 1);
  return row;
}

at::Tensor longs(const std::vector<std::int64_t>& values, const at::Device& device) {
  return at::tensor(values, at::kLong).to(device);
}

/// Losses and gradients of one chunk of rows.
struct ChunkResult {
  std::vector<double> losses;         ///< a row each
  std::vector<at::Tensor> gradients;  ///< float64, of the sum of the losses
};

ChunkResult run_chunk(const Decoder& model, const TuningBatch& batch,
                      const std::vector<at::Tensor>& values, const MakeHook& make_hook) {
  c10::AutoGradMode gradient(true);
  std::vector<at::Tensor> leaves;
  leaves.reserve(values.size());
  for (const at::Tensor& value : values)
    leaves.push_back(value.to(model.options()).clone().set_requires_grad(true));
  const at::Tensor nll = target_nll(model, batch, make_hook(leaves));
  at::Tensor sum = at::zeros({}, nll.options());
  ChunkResult out;
  std::int64_t at = 0;
  for (const std::int64_t count : batch.target_counts) {
    const at::Tensor row = nll.narrow(0, at, count).mean();
    out.losses.push_back(row.detach().to(at::kCPU, at::kDouble).item<double>());
    sum = sum + row;
    at += count;
  }
  sum.backward();
  for (const at::Tensor& leaf : leaves)
    out.gradients.push_back(leaf.grad().to(at::kCPU, at::kDouble));
  return out;
}

/// Chunks of one minibatch, [first, last) of all chunks.
std::vector<RowRange> minibatches(const std::vector<RowRange>& chunks, std::int64_t rows) {
  std::vector<RowRange> out;
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    const auto index = static_cast<std::int64_t>(c);
    if (out.empty() ||
        chunks[c].second - chunks[static_cast<std::size_t>(out.back().first)].first > rows)
      out.emplace_back(index, index);
    out.back().second = index + 1;
  }
  return out;
}

/// Rows [first, last) of each chunk: none reaches over the end of a minibatch.
std::vector<RowRange> cut_chunks(std::int64_t rows, std::int64_t minibatch) {
  std::vector<RowRange> out;
  for (std::int64_t start = 0; start < rows; start += minibatch) {
    const std::int64_t end = std::min(rows, start + minibatch);
    for (std::int64_t first = start; first < end; first += kChunkRows)
      out.emplace_back(first, std::min(end, first + kChunkRows));
  }
  return out;
}

std::string state_name(std::size_t i) { return fmt::format("state.{}", i); }

/// What a turn has added behind the old traces and notes.
void keep_turn(Turns& turns, const EditPlan& plan, std::size_t old_traces, const Json& notes,
               std::size_t old_notes, const std::vector<at::Tensor>& state) {
  EditTurn turn;
  for (std::size_t i = old_traces; i < plan.traces.size(); ++i) turn.add(plan.traces[i]);
  turn.json["notes"] = Json::array();
  for (std::size_t i = old_notes; i < notes.size(); ++i) turn.json["notes"].push_back(notes[i]);
  TurnTensors now;
  for (std::size_t i = 0; i < state.size(); ++i) now.emplace(state_name(i), state[i]);
  turns.keep(turn, now);
}

/// The next turn of an earlier run; the last one brings the state.
bool take_turn(Turns& turns, EditPlan& plan, Json& notes, std::vector<at::Tensor>& state) {
  const auto kept = turns.take();
  if (!kept) return false;
  for (FactTrace& trace : kept->traces()) plan.traces.push_back(std::move(trace));
  for (const Json& note : kept->json.at("notes")) notes.push_back(note);
  if (!kept->tensors.contains(state_name(0))) return true;
  state.clear();
  for (std::size_t i = 0; kept->tensors.contains(state_name(i)); ++i)
    state.push_back(kept->tensors.at(state_name(i)));
  return true;
}

}  // namespace

void check_end(const Tokenizer& tokenizer, Objective objective, bool end) {
  if (!end || (objective == Objective::kTarget && tokenizer.eos())) return;
  fail(ErrorKind::kUsage, "edit",
       objective == Objective::kLast
           ? "end=1: expected objective=target, found objective=last"
           : "end=1: expected a tokenizer with an end-of-text token, found none");
}

std::vector<TuningRow> tuning_rows(const Tokenizer& tokenizer, std::span<const Fact> facts,
                                   Objective objective, bool end) {
  check_end(tokenizer, objective, end);
  std::vector<TuningRow> out;
  for (const Fact& fact : facts) out.push_back(tuning_row(tokenizer, fact, objective, end));
  return out;
}

TuningBatch make_batch(const Decoder& model, std::span<const TuningRow> rows, std::int64_t layer) {
  const c10::AutoGradMode no_gradient(false);
  const at::Device device = model.options().device();
  std::vector<PromptRow> padded;
  for (const TuningRow& row : rows) padded.push_back({row.ids, 0});
  TuningBatch out;
  out.layer = layer;
  const at::Tensor ids = pad_rows(padded, 0, std::ssize(padded), out.lengths).to(device);
  Pass pass;
  pass.lengths = out.lengths;
  out.hidden = model.run(model.embed(ids), 0, layer, pass);
  std::vector<std::int64_t> places, targets;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (const std::int64_t place : rows[r].places)
      places.push_back(static_cast<std::int64_t>(r) * ids.size(1) + place);
    targets.insert(targets.end(), rows[r].targets.begin(), rows[r].targets.end());
    out.target_counts.push_back(std::ssize(rows[r].targets));
  }
  out.places = longs(places, device);
  out.targets = longs(targets, device);
  return out;
}

at::Tensor target_nll(const Decoder& model, const TuningBatch& batch, const Hook& hook) {
  Pass pass;
  pass.lengths = batch.lengths;
  pass.hook = hook;
  const at::Tensor hidden = model.run(batch.hidden, batch.layer, model.spec().layers, pass);
  const at::Tensor predicting = hidden.flatten(0, 1).index_select(0, batch.places);
  const at::Tensor log_p = at::log_softmax(model.head(predicting), -1);
  return -log_p.gather(1, batch.targets.unsqueeze(1)).squeeze(1);
}

Tuned tune(const Decoder& model, std::span<const TuningRow> rows, std::int64_t layer,
           std::vector<at::Tensor> start, const MakeHook& make_hook, const Constrain& constrain,
           const TuningOptions& options) {
  Tuned out{std::move(start), {}};
  std::vector<Adam> adam;
  for (const at::Tensor& value : out.values) adam.emplace_back(value.sizes(), options.lr);
  const auto chunks = cut_chunks(std::ssize(rows), options.minibatch);
  std::vector<TuningBatch> batches(chunks.size());
  for_each_chunk(std::ssize(chunks), [&](std::int64_t c) {
    const auto [first, last] = chunks[static_cast<std::size_t>(c)];
    batches[static_cast<std::size_t>(c)] = make_batch(
        model,
        rows.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first)),
        layer);
  });
  std::vector<at::Tensor> losses;
  Progress progress("training", static_cast<std::uint64_t>(options.steps), Progress::Unit::kItems);
  for (std::int64_t epoch = 0; epoch < options.steps; ++epoch) {
    std::vector<double> seen;
    for (const auto& [first, last] : minibatches(chunks, options.minibatch)) {
      check_interrupted();
      std::vector<ChunkResult> results(static_cast<std::size_t>(last - first));
      for_each_chunk(last - first, [&, first = first](std::int64_t c) {
        results[static_cast<std::size_t>(c)] =
            run_chunk(model, batches[static_cast<std::size_t>(first + c)], out.values, make_hook);
      });
      const std::size_t before = seen.size();
      for (const ChunkResult& result : results)
        seen.insert(seen.end(), result.losses.begin(), result.losses.end());
      const auto count = static_cast<double>(seen.size() - before);
      const OneThread inside;
      for (std::size_t i = 0; i < out.values.size(); ++i) {
        at::Tensor gradient = results.front().gradients[i];
        for (std::size_t c = 1; c < results.size(); ++c)
          gradient = gradient + results[c].gradients[i];
        adam[i].step(out.values[i], gradient / count);
      }
      if (constrain) constrain(out.values);
    }
    losses.push_back(at::tensor(seen, at::kDouble));
    const double mean = losses.back().mean().item<double>();
    if (!std::isfinite(mean)) {
      fail(ErrorKind::kNumeric, "edit",
           fmt::format("the training loss is not finite in epoch {}", epoch),
           "take a smaller --method-option lr");
    }
    progress.advance(1);
    if (mean < options.stop) break;
  }
  progress.finish();
  out.losses = at::stack(losses);
  return out;
}

void for_each_turn(const EditInput& input, EditPlan& plan, Json& notes,
                   std::vector<at::Tensor>& state,
                   const std::function<void(std::span<const Fact> facts)>& turn) {
  const std::span<const Fact> facts = input.facts;
  const std::size_t size = input.batch > 0 ? static_cast<std::size_t>(input.batch)
                                           : std::max<std::size_t>(1, facts.size());
  for (std::size_t first = 0; first < facts.size(); first += size) {
    if (input.turns != nullptr && take_turn(*input.turns, plan, notes, state)) continue;
    const std::size_t old_traces = plan.traces.size(), old_notes = notes.size();
    turn(facts.subspan(first, std::min(size, facts.size() - first)));
    if (input.turns != nullptr) keep_turn(*input.turns, plan, old_traces, notes, old_notes, state);
  }
}

Factors whole_factors(std::int64_t layer, const MatrixRef& down, const at::Tensor& change) {
  const at::Tensor whole = change.to(at::kCPU, at::kFloat).contiguous();
  const std::int64_t d_out = whole.size(0), d_in = whole.size(1);
  if (d_out <= d_in)
    return {layer, down.name, down.layout, at::eye(d_out, at::kFloat), whole.t().contiguous()};
  return {layer, down.name, down.layout, whole, at::eye(d_in, at::kFloat)};
}

void add_traces(std::span<const Fact> facts, const at::Tensor& losses, EditPlan& plan) {
  for (std::size_t f = 0; f < facts.size(); ++f) {
    const at::Tensor nll = losses.select(1, static_cast<std::int64_t>(f));
    const at::Tensor zero = at::zeros_like(nll);
    FactTrace trace;
    trace.id = facts[f].id;
    trace.losses = at::stack({nll, nll, zero, zero, (-nll).exp()}, 1);
    plan.traces.push_back(std::move(trace));
  }
}

}  // namespace lancet
