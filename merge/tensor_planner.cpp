#include "merge/tensor_planner.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/text.h"
#include "merge/layers.h"

namespace lancet {
namespace {

DType promoted(DType a, DType b) {
  if (a == b) return a;
  const auto is = [&](DType d) { return a == d || b == d; };
  if (is(DType::kF64)) return DType::kF64;
  return DType::kF32;
}

}  // namespace

TensorPlanner::TensorPlanner(const RecipeFile& file, const Recipe& recipe,
                             const OpenedInputs& opened, const MergeOptions& options)
    : file_(file), recipe_(recipe), opened_(opened), plan_(std::make_shared<MergePlan>()) {
  plan_->method = recipe.method;
  plan_->options = options;
  plan_->post = recipe.post;
  if (options.semantics == Semantics::kMergekit && !recipe.dtype.empty())
    plan_->load_dtype = parse_dtype(recipe.dtype);
}

void TensorPlanner::refuse(ErrorKind kind, RecipePlace place, const std::string& message,
                           std::string hint) const {
  const std::string where = place.line > 0 ? fmt::format("{}:{}:{}: ", printable(file_.source, 400),
                                                         place.line, place.column)
                                           : "";
  fail(kind, "merge", where + message, std::move(hint));
}

void TensorPlanner::check_architectures() const {
  const auto type = [](const MergeInput& model) {
    return model.config().is_object() ? json_string(model.config(), "model_type", "config.json", "")
                                      : std::string();
  };
  const MergeInput& first = input(reference());
  for (const auto& other : plan_->inputs) {
    const std::string a = type(first), b = type(*other);
    if (a.empty() || b.empty() || a == b || plan_->options.allow_crimes) continue;
    refuse(ErrorKind::kMismatch, recipe_.place,
           fmt::format("expected models of one architecture, found '{}' ({}) and '{}' ({})",
                       printable(first.text(), 200), printable(a), printable(other->text(), 200),
                       printable(b)),
           "models of different families cannot be averaged; --allow-crimes tries it where all "
           "tensors fit");
  }
}

void TensorPlanner::warn_of_stacked_matrices() {
  if (!plan_->method->needs_linalg) return;
  const auto stacked = [](const PlannedTensor& t) { return !t.copied && t.shape.size() > 2; };
  const auto first = std::ranges::find_if(plan_->tensors, stacked);
  if (first == plan_->tensors.end()) return;
  warn({}, fmt::format("{} works on matrices: {} tensors of more dimensions ('{}' [{}], ...) get "
                       "the mean of their changes, as vectors do",
                       plan_->method->name, std::ranges::count_if(plan_->tensors, stacked),
                       printable(first->name), fmt::join(first->shape, ", ")));
}

void TensorPlanner::warn_of_rows() {
  std::vector<std::size_t> merged;
  const auto add = [&](const PlannedSource& source) {
    if (std::ranges::find(merged, source.input) == merged.end()) merged.push_back(source.input);
  };
  for (const PlannedTensor& tensor : plan_->tensors) {
    if (!tensor.embedding || tensor.models.size() + (tensor.base ? 1 : 0) < 2) continue;
    if (tensor.base) add(*tensor.base);
    for (const PlannedSource& source : tensor.models) add(source);
  }
  for (const std::string& warning : warnings_of_rows(plan_->inputs, merged)) warn({}, warning);
}

void TensorPlanner::scale_layers() {
  if (!recipe_.post.lines) return;
  std::vector<InputTensor> names;
  for (const PlannedTensor& tensor : plan_->tensors)
    names.push_back({tensor.name, tensor.shape, tensor.dtype});
  const LayerFamilies layers(names);
  for (PlannedTensor& tensor : plan_->tensors) {
    if (tensor.copied) continue;
    const bool inside = layer_of(tensor.name).has_value();
    const double depth = inside                          ? layers.position(tensor.name)
                         : is_before_layers(tensor.name) ? 0.0
                                                         : 1.0;
    tensor.delta_scale = recipe_.post.lines->alpha + recipe_.post.lines->beta * depth;
  }
}

void TensorPlanner::warn(RecipePlace place, const std::string& message) {
  plan_->warnings.push_back(place.line > 0
                                ? fmt::format("{}:{}:{}: {}", printable(file_.source, 400),
                                              place.line, place.column, message)
                                : message);
}

/// The model whose names, config and tokenizer the result has.
const RecipeModel& TensorPlanner::reference() const {
  if (recipe_.base) return *recipe_.base;
  if (!recipe_.models.empty()) return recipe_.models[0].model;
  if (!recipe_.slices.empty()) return recipe_.slices[0].sources[0].model;
  const RecipeModule& module = recipe_.modules[0];
  return module.models.empty() ? module.slices[0].sources[0].model : module.models[0].model;
}

/// The tensor of that name, or the embedding where the model ties its head to it.
const InputTensor* TensorPlanner::find_or_tied(const MergeInput& model,
                                               const std::string& name) const {
  if (const InputTensor* found = model.find(name)) return found;
  if (!name.ends_with("lm_head.weight") || !model.config().is_object() ||
      !json_bool(model.config(), "tie_word_embeddings", "config.json", true)) {
    return nullptr;
  }
  const auto& all = model.tensors();
  const auto found = std::ranges::find_if(all, [](const InputTensor& t) {
    return t.name.ends_with("embed_tokens.weight") || t.name.ends_with("wte.weight");
  });
  return found == all.end() ? nullptr : &*found;
}

double TensorPlanner::value_of(const MergeParameter& parameter,
                               const std::vector<const RecipeValues*>& levels,
                               std::string_view tensor, double position, const std::string& owner,
                               RecipePlace place) const {
  for (const RecipeValues* level : levels) {
    const auto found = level->find(parameter.name);
    if (found == level->end()) continue;
    const bool pick = parameter.kind == MergeParameter::Kind::kFlag ||
                      parameter.kind == MergeParameter::Kind::kWord;
    if (const auto value = found->second.at(tensor, position, pick)) return *value;
  }
  if (!std::isnan(parameter.fallback)) return parameter.fallback;
  refuse(ErrorKind::kUsage, place,
         fmt::format("{} needs the parameter '{}'{}{} for tensor '{}', found none",
                     plan_->method->name, parameter.name, owner.empty() ? "" : " ", owner,
                     printable(tensor)),
         fmt::format("{}: {}", parameter.name, parameter.help));
}

std::vector<double> TensorPlanner::values_of(bool per_model,
                                             const std::vector<const RecipeValues*>& levels,
                                             std::string_view tensor, double position,
                                             const std::string& owner, RecipePlace place) const {
  std::vector<double> out;
  for (const MergeParameter& parameter : plan_->method->parameters) {
    out.push_back(parameter.per_model == per_model
                      ? value_of(parameter, levels, tensor, position, owner, place)
                      : 0.0);
  }
  return out;
}

const InputTensor& TensorPlanner::need(const MergeInput& model, const std::string& name,
                                       const PlannedTensor& out, const Part& part) const {
  if (const InputTensor* found = find_or_tied(model, name)) return *found;
  const std::string other = out.base             ? plan_->inputs[out.base->input]->text()
                            : out.models.empty() ? input(reference()).text()
                                                 : plan_->inputs[out.models[0].input]->text();
  refuse(ErrorKind::kMismatch, part.place,
         fmt::format("tensor '{}' stands in '{}' and not in '{}'{}", printable(name),
                     printable(other, 200), printable(model.text(), 200),
                     name == out.name ? "" : fmt::format(" (for '{}')", printable(out.name))),
         "the models must have the same tensors; compare them with `lancet diff`");
}

void TensorPlanner::check_shape(const PlannedTensor& out, const MergeInput& model,
                                const std::vector<std::int64_t>& shape, const Part& part) const {
  if (shape == out.shape) return;
  const PlannedSource& first = out.base ? *out.base : out.models[0];
  const bool rows = shape.size() == 2 && out.shape.size() == 2 && shape[1] == out.shape[1];
  refuse(ErrorKind::kMismatch, part.place,
         fmt::format("tensor '{}': expected one shape, found [{}] in '{}' and [{}] in '{}'",
                     printable(out.name), fmt::join(out.shape, ", "),
                     printable(plan_->inputs[first.input]->text(), 200), fmt::join(shape, ", "),
                     printable(model.text(), 200)),
         rows ? "different vocabularies: say tokenizer_source: union (or base), so that rows are "
                "matched by token"
              : "models of different sizes cannot be merged");
}

PlannedSource TensorPlanner::source(const RecipeModel& model, const std::string& name,
                                    PlannedTensor& out, const Part& part) const {
  const MergeInput& from = input(model);
  PlannedSource planned{index_.find(model.text)->second, &need(from, name, out, part), {}, {}, {}};
  if (tokens_ && is_embedding(from, *planned.tensor)) take_rows(planned, name, out, part);
  if (!out.base && out.models.empty()) out.shape = planned.shape();
  check_shape(out, from, planned.shape(), part);
  return planned;
}

/// Rows by token instead of by number, from the tensor `name` of every model: the head of one may
/// be another's embedding.
void TensorPlanner::take_rows(PlannedSource& planned, const std::string& name,
                              const PlannedTensor& out, const Part& part) const {
  planned.rows = tokens_->maps[planned.input];
  planned.donors.resize(plan_->inputs.size());
  for (const RowMap::Row& row : planned.rows->sources) {
    const InputTensor*& donor = planned.donors[row.input];
    if (donor == nullptr) {
      donor = row.input == planned.input ? planned.tensor
                                         : &need(*plan_->inputs[row.input], name, out, part);
    }
  }
}

void TensorPlanner::set_dtype(PlannedTensor& out) const {
  const auto stored = [](const PlannedSource& s) {
    const DType d = s.tensor->kept.value_or(s.tensor->dtype);
    const bool plain =
        d == DType::kF64 || d == DType::kF32 || d == DType::kBF16 || d == DType::kF16;
    return plain || !dtype_info(d).floating ? d : DType::kF32;
  };
  const PlannedSource& first = out.base ? *out.base : out.models[0];
  out.dtype = stored(first);
  for (const PlannedSource& model : out.models) out.dtype = promoted(out.dtype, stored(model));
  out.copied = !dtype_info(first.tensor->dtype).floating;
  if (out.copied) {
    out.dtype = first.tensor->dtype;
    return;
  }
  if (recipe_.call) out.kept = out.dtype;
  if (!recipe_.dtype.empty()) out.dtype = parse_dtype(recipe_.dtype);
  if (!recipe_.out_dtype.empty()) out.dtype = parse_dtype(recipe_.out_dtype);
  if (plan_->options.dtype) out.dtype = *plan_->options.dtype;
}

namespace {

/// A tensor of a plan: no values yet.
class ShapeReader final : public TensorReader {
 public:
  explicit ShapeReader(const PlannedTensor& tensor) : TensorReader(tensor.name, tensor.shape) {}
  void read(std::uint64_t, std::span<double>) const override {
    fail(ErrorKind::kInternal, "merge", label() + ": a check of parameters read values");
  }
};

/// Where a part says a parameter: of one model, else the first place that there is.
RecipePlace place_of(const Part& part, const ParameterFault& fault, std::string_view model) {
  for (const RecipeSource* s : part.sources) {
    const auto found = s->parameters.find(fault.parameter);
    const bool asked = !fault.model || s->model.text == model;
    if (asked && found != s->parameters.end()) return found->second.place;
  }
  for (const RecipeValues* level : part.outer) {
    if (const auto found = level->find(fault.parameter); found != level->end())
      return found->second.place;
  }
  return part.place;
}

}  // namespace

void TensorPlanner::check_parameters(const Part& part, const PlannedTensor& out) const {
  const ShapeReader reader(out);
  std::vector<TaskModel> models;
  for (const PlannedSource& source : out.models)
    models.push_back({&reader, plan_->inputs[source.input]->text(), source.values});
  const MergeTask task(*plan_->method, out.name, models, out.base ? &reader : nullptr, out.values,
                       plan_->options.semantics, plan_->options.seed);
  const auto fault = task.fault();
  if (!fault) return;
  const std::string_view model = fault->model ? std::string_view(models[*fault->model].key) : "";
  refuse(fault->kind, place_of(part, *fault, model), fault->message, fault->hint);
}

void TensorPlanner::add_tensor(const Part& part, const std::string& name, double position,
                               const NameIn& name_in) {
  const Method& method = *plan_->method;
  PlannedTensor out;
  out.name = name;
  const bool uses_base = method.base != BaseUse::kNone && part.base != nullptr;
  const RecipeSource* base_source = nullptr;
  for (const RecipeSource* s : part.sources) {
    if (uses_base && s->model.text == part.base->text) base_source = s;
  }
  if (uses_base) out.base = source(*part.base, name_in(base_source, input(*part.base)), out, part);
  for (const RecipeSource* s : part.sources) {
    if (s == base_source) continue;
    const std::string in_name = name_in(s, input(s->model));
    PlannedSource planned = source(s->model, in_name, out, part);
    std::vector<const RecipeValues*> levels{&s->parameters};
    levels.insert(levels.end(), part.outer.begin(), part.outer.end());
    planned.values = values_of(true, levels, in_name, position,
                               fmt::format("of '{}'", printable(s->model.text, 200)), s->place);
    out.models.push_back(std::move(planned));
  }
  out.values = values_of(false, part.outer, name, position, "", part.place);
  set_dtype(out);
  if (method.fault != nullptr && !out.copied) check_parameters(part, out);
  const PlannedSource& first = out.base ? *out.base : out.models[0];
  const MergeInput& model = *plan_->inputs[first.input];
  out.embedding = is_embedding(model, *first.tensor) ||
                  (!layer_of(name) && is_before_layers(name) && out.shape.size() == 2);
  out.transposed = is_transposed(model.config(), first.tensor->name);
  plan_->tensors.push_back(std::move(out));
}

/// Number of models and presence of a base, against what the method takes.
void TensorPlanner::check_part(const Part& part) const {
  const Method& method = *plan_->method;
  if (method.base == BaseUse::kRequired && part.base == nullptr) {
    refuse(ErrorKind::kUsage, part.place,
           fmt::format("{} needs a base_model, found none", method.name), "say base_model: MODEL");
  }
  const bool uses_base = method.base != BaseUse::kNone && part.base != nullptr;
  const auto models =
      static_cast<std::size_t>(std::ranges::count_if(part.sources, [&](const RecipeSource* s) {
        return !uses_base || s->model.text != part.base->text;
      }));
  if (models >= method.min_models && models <= method.max_models) return;
  const std::string count =
      method.min_models == method.max_models ? fmt::format("exactly {}", method.min_models)
      : models < method.min_models           ? fmt::format("at least {}", method.min_models)
                                             : fmt::format("at most {}", method.max_models);
  refuse(
      ErrorKind::kUsage, part.place,
      fmt::format("{} takes {} model{}{}, found {}", method.name, count,
                  count.ends_with(" 1") ? "" : "s", uses_base ? " besides the base" : "", models));
}

}  // namespace lancet
