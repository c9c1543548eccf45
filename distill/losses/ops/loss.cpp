// Options, checks of the targets, and the way to a loss.

#include "distill/losses/loss.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "distill/losses/ops/token_rows.h"

namespace lancet {
namespace {

using Kind = LossParameter::Kind;

std::size_t position_of(const Loss& loss, std::string_view name) {
  const auto at = std::ranges::find(loss.parameters, name, &LossParameter::name);
  if (at != loss.parameters.end()) return static_cast<std::size_t>(at - loss.parameters.begin());
  std::vector<std::string_view> known;
  for (const LossParameter& each : loss.parameters) known.push_back(each.name);
  std::string list;
  for (const std::string_view each : known) list += (list.empty() ? "" : ", ") + std::string(each);
  fail(ErrorKind::kUsage, "loss",
       "expected an option of " + std::string(loss.name) + " (" +
           (list.empty() ? "it has none" : list) + "), found '" + printable(name) + "'",
       did_you_mean(name, known));
}

[[noreturn]] void bad_value(const LossParameter& parameter, const std::string& range,
                            const std::string& found) {
  fail(ErrorKind::kUsage, "loss",
       "expected " + std::string(parameter.name) + " to be " + range + ", found '" +
           printable(found) + "'");
}

std::string plain_number(double value) {
  std::string text = Json(value).dump();
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

double parse_word(const LossParameter& parameter, const std::string& text) {
  const auto at = std::ranges::find(parameter.choices, text);
  if (at != parameter.choices.end()) return static_cast<double>(at - parameter.choices.begin());
  std::string list;
  for (const std::string_view each : parameter.choices)
    list += (list.empty() ? "" : ", ") + std::string(each);
  bad_value(parameter, "one of " + list, text);
}

double parse_value(const LossParameter& parameter, const std::string& text) {
  if (parameter.kind == Kind::kWord) return parse_word(parameter, text);
  if (parameter.kind == Kind::kFlag) {
    if (text == "true" || text == "1") return 1;
    if (text == "false" || text == "0") return 0;
    bad_value(parameter, "true or false", text);
  }
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const bool whole = parameter.kind != Kind::kInteger || value == std::floor(value);
  if (error != std::errc() || stop != end || !std::isfinite(value) || !whole ||
      value < parameter.minimum || value > parameter.maximum) {
    bad_value(parameter,
              std::string(parameter.kind == Kind::kInteger ? "a whole number" : "a number") +
                  " from " + plain_number(parameter.minimum) + " to " +
                  plain_number(parameter.maximum),
              text);
  }
  return value;
}

[[noreturn]] void bad_targets(const std::string& what) { fail(ErrorKind::kInput, "loss", what); }

void check_length(const char* name, std::size_t found, std::int64_t expected) {
  if (std::cmp_equal(found, expected)) return;
  bad_targets("expected " + std::to_string(expected) + " entries of " + name + ", found " +
              std::to_string(found));
}

void check_ids(std::span<const std::int32_t> ids, std::int64_t vocab) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab) continue;
    bad_targets("expected token ids from 0 to " + std::to_string(vocab - 1) + ", found " +
                std::to_string(ids[i]) + " (row " + std::to_string(i) + ")");
  }
}

void check_starts(const char* name, std::span<const std::int64_t> starts, std::int64_t end) {
  const bool sound = !starts.empty() && starts.front() == 0 && starts.back() == end &&
                     std::ranges::is_sorted(starts);
  if (!sound) {
    bad_targets(std::string("expected ") + name + " to rise from 0 to " + std::to_string(end));
  }
}

void check_top(const LossTargets& targets, std::int64_t n, std::int64_t vocab) {
  check_length("top_begin", targets.top_begin.size(), n + 1);
  const auto entries = static_cast<std::int64_t>(targets.top_ids.size());
  check_length("top_logprobs", targets.top_logprobs.size(), entries);
  check_starts("top_begin", targets.top_begin, entries);
  for (std::size_t row = 0; row + 1 < targets.top_begin.size(); ++row) {
    const auto begin = static_cast<std::size_t>(targets.top_begin[row]);
    const auto end = static_cast<std::size_t>(targets.top_begin[row + 1]);
    const std::string where = " (row " + std::to_string(row) + ")";
    std::vector<std::int32_t> ids(targets.top_ids.begin() + targets.top_begin[row],
                                  targets.top_ids.begin() + targets.top_begin[row + 1]);
    std::ranges::sort(ids);
    if (!ids.empty() && (ids.front() < 0 || ids.back() >= vocab))
      bad_targets("expected the teacher's token ids below " + std::to_string(vocab) +
                  ", found others" + where);
    if (std::ranges::adjacent_find(ids) != ids.end())
      bad_targets("expected every token of the teacher once" + where);
    for (std::size_t i = begin; i < end; ++i) {
      if (!(targets.top_logprobs[i] <= 1e-3F))
        bad_targets("expected log probabilities of at most 0, found " +
                    std::to_string(targets.top_logprobs[i]) + where);
    }
  }
}

void check_teacher(const LossTargets& targets, std::int64_t n, const Loss& loss,
                   std::int64_t vocab) {
  if (targets.teacher == nullptr || targets.teacher_hidden.dim() != 2 ||
      targets.teacher_hidden.size(1) != targets.teacher->spec().d_model) {
    bad_targets("expected a teacher and its hidden states [rows, d_model]");
  }
  const std::int64_t theirs = targets.teacher_hidden.size(0);
  if (targets.teacher_row.empty()) {
    check_length("teacher_hidden", static_cast<std::size_t>(theirs), n);
  } else {
    check_length("teacher_row", targets.teacher_row.size(), n);
    for (const std::int64_t row : targets.teacher_row) {
      if (row < -1 || row >= theirs)
        bad_targets("expected rows of the teacher below " + std::to_string(theirs) + ", found " +
                    std::to_string(row));
    }
  }
  const std::int64_t most = std::min(vocab, targets.teacher->spec().vocab);
  if (!loss.needs.own_tokenizer && (targets.shared_vocab < 0 || targets.shared_vocab > most)) {
    fail(ErrorKind::kMismatch, "loss",
         "expected a shared vocabulary of at most " + std::to_string(most) + " ids, found " +
             std::to_string(targets.shared_vocab));
  }
}

void check_targets(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
                   const Loss& loss) {
  if (hidden.dim() != 2 || hidden.size(1) != model.spec().d_model)
    fail(ErrorKind::kInternal, "loss", "expected hidden states [rows, d_model]");
  const std::int64_t n = hidden.size(0);
  const std::int64_t vocab = model.spec().vocab;
  check_length("next", targets.next.size(), n);
  check_ids(targets.next, vocab);
  if (!targets.weight.empty()) check_length("weight", targets.weight.size(), n);
  const LossNeeds& needs = loss.needs;
  if (needs.top) check_top(targets, n, vocab);
  if (needs.teacher) check_teacher(targets, n, loss, vocab);
  if (needs.reference) check_length("reference", targets.reference.size(), n);
  if (needs.pairs || needs.rollouts) check_starts("sequence_begin", targets.sequence_begin, n);
  if (needs.pairs && targets.sequence_begin.size() % 2 == 0)
    bad_targets("expected a rejected sequence for every chosen one, found an odd number");
  if (needs.rollouts) {
    check_length("teacher_logprob", targets.teacher_logprob.size(), n);
    check_length("sampling_logprob", targets.sampling_logprob.size(), n);
  }
}

}  // namespace

double LossOptions::number(std::string_view name) const {
  const auto at = std::ranges::find(loss->parameters, name, &LossParameter::name);
  if (at == loss->parameters.end())
    fail(ErrorKind::kInternal, "loss", "no parameter '" + std::string(name) + "'");
  return values.at(static_cast<std::size_t>(at - loss->parameters.begin()));
}

std::string_view LossOptions::word(std::string_view name) const {
  const auto at = std::ranges::find(loss->parameters, name, &LossParameter::name);
  return at->choices[static_cast<std::size_t>(number(name))];
}

Json LossOptions::json() const {
  Json out{{"name", loss->name}};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const LossParameter& each = loss->parameters[i];
    Json& to = out[std::string(each.name)];
    if (each.kind == Kind::kWord) {
      to = each.choices[static_cast<std::size_t>(values[i])];
    } else if (each.kind == Kind::kFlag) {
      to = values[i] != 0;
    } else if (each.kind == Kind::kInteger) {
      to = static_cast<std::int64_t>(values[i]);
    } else {
      to = values[i];
    }
  }
  return out;
}

const Loss& find_loss(std::string_view name) {
  std::vector<std::string_view> known;
  std::string list;
  for (const Loss* each : loss_registry()) {
    if (each->name == name) return *each;
    known.push_back(each->name);
    list += (list.empty() ? "" : ", ") + std::string(each->name);
  }
  fail(ErrorKind::kUsage, "loss", "expected one of " + list + ", found '" + printable(name) + "'",
       did_you_mean(name, known));
}

LossOptions loss_options(std::string_view loss, const std::map<std::string, std::string>& given) {
  LossOptions out{&find_loss(loss), {}};
  for (const LossParameter& each : out.loss->parameters) out.values.push_back(each.fallback);
  for (const auto& [name, text] : given) {
    const std::size_t at = position_of(*out.loss, name);
    out.values[at] = parse_value(out.loss->parameters[at], text);
  }
  return out;
}

LossResult head_loss(const Decoder& model, const at::Tensor& hidden, const LossTargets& targets,
                     const LossOptions& options) {
  check_targets(model, hidden, targets, *options.loss);
  return options.loss->run(model, hidden, targets, options);
}

at::Tensor token_logprobs(const Decoder& model, const at::Tensor& hidden,
                          std::span<const std::int32_t> next) {
  check_length("next", next.size(), hidden.size(0));
  check_ids(next, model.spec().vocab);
  losses::HeadRows rows = losses::token_rows({next.begin(), next.end()},
                                             std::vector<float>(next.size(), -1.0F), nullptr);
  rows.own_slopes = true;
  return losses::head_rows(model, hidden, rows);
}

std::uint64_t head_loss_bytes(const DecoderSpec& model, std::int64_t n, const Loss& loss) {
  const auto bytes = [](std::int64_t floats) {
    return static_cast<std::uint64_t>(floats) * sizeof(float);
  };
  const std::int64_t chunk = std::min(n, losses::rows_at_once(model.vocab)) * model.vocab;
  // Normed states, their gradient as it is made and as it leaves the norm; a teacher's states come
  // with the targets, but are normed here.
  const std::int64_t states = n * model.d_model * (loss.needs.teacher ? 4 : 3);
  return bytes(states) + bytes(chunk) * (loss.needs.teacher ? 2 : 1);
}

}  // namespace lancet
