#include "merge/planner.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/layers.h"
#include "merge/tokens.h"

namespace lancet {
namespace {

/// A run of layers, or whole models: what each source contributes, with the parameters around it.
struct Part {
  std::vector<const RecipeSource*> sources;  ///< as listed
  const RecipeModel* base = nullptr;
  std::vector<const RecipeValues*>
      outer;  ///< slice, module, recipe: the first that has a value wins
  Place place;
};

/// A tensor of one source: its name there.
using NameIn = std::function<std::string(const RecipeSource* source, const MergeInput& input)>;

class Planner {
 public:
  Planner(const RecipeFile& file, const Recipe& recipe, const OpenedInputs& opened,
          const MergeOptions& options)
      : file_(file), recipe_(recipe), opened_(opened), plan_(std::make_shared<MergePlan>()) {
    plan_->method = recipe.method;
    plan_->options = options;
    if (options.semantics == Semantics::kMergekit && !recipe.dtype.empty())
      plan_->load_dtype = parse_dtype(recipe.dtype);
  }

  std::shared_ptr<const MergePlan> run() {
    plan_->warnings = file_.warnings;
    std::set<std::string> texts;
    for_each_model(recipe_, [&](const RecipeModel& model) {
      if (!texts.insert(model.text).second) return;
      index_.emplace(model.text, plan_->inputs.size());
      plan_->inputs.push_back(opened_.at(model.text));
    });
    check_architectures();
    if (recipe_.tokenizer) {
      tokens_ = plan_tokens(*recipe_.tokenizer, plan_->inputs,
                            index_.find(reference().text)->second, plan_->options.semantics);
      for (const std::string& warning : tokens_->warnings) warn({}, warning);
    }
    if (!recipe_.modules.empty()) {
      plan_modules();
    } else if (!recipe_.slices.empty()) {
      plan_slices(recipe_.slices, {}, [](std::string_view) { return true; });
    } else {
      plan_models(recipe_.models, {}, [](std::string_view) { return true; });
    }
    std::ranges::sort(plan_->tensors, {}, &PlannedTensor::name);
    warn_idle_values(recipe_, plan_->tensors,
                     [&](Place place, const std::string& message) { warn(place, message); });
    finish_config();
    return plan_;
  }

 private:
  using Belongs = std::function<bool(std::string_view tensor)>;

  const RecipeFile& file_;
  const Recipe& recipe_;
  const OpenedInputs& opened_;
  std::shared_ptr<MergePlan> plan_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<const MergeInput*, LayerFamilies> families_;
  std::optional<std::vector<std::int64_t>> stacked_;  ///< reference layer of each output layer
  std::optional<TokenPlan> tokens_;

  [[noreturn]] void refuse(ErrorKind kind, Place place, const std::string& message,
                           std::string hint = {}) const {
    const std::string where =
        place.line > 0
            ? fmt::format("{}:{}:{}: ", printable(file_.source, 400), place.line, place.column)
            : "";
    fail(kind, "merge", where + message, std::move(hint));
  }
  void warn(Place place, const std::string& message) {
    plan_->warnings.push_back(place.line > 0
                                  ? fmt::format("{}:{}:{}: {}", printable(file_.source, 400),
                                                place.line, place.column, message)
                                  : message);
  }

  const MergeInput& input(const RecipeModel& model) const { return *opened_.at(model.text); }
  const LayerFamilies& families(const MergeInput& model) {
    return families_.try_emplace(&model, model.tensors()).first->second;
  }
  /// The model whose names, config and tokenizer the result has.
  const RecipeModel& reference() const {
    if (recipe_.base) return *recipe_.base;
    if (!recipe_.models.empty()) return recipe_.models[0].model;
    if (!recipe_.slices.empty()) return recipe_.slices[0].sources[0].model;
    const RecipeModule& module = recipe_.modules[0];
    return module.models.empty() ? module.slices[0].sources[0].model : module.models[0].model;
  }

  void check_architectures() {
    const auto type = [](const MergeInput& model) {
      return model.config().is_object()
                 ? json_string(model.config(), "model_type", "config.json", "")
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

  // --- one tensor ---

  /// The tensor of that name, or the embedding where the model ties its head to it.
  const InputTensor* find_or_tied(const MergeInput& model, const std::string& name) const {
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

  double value_of(const MergeParameter& parameter, const std::vector<const RecipeValues*>& levels,
                  std::string_view tensor, double position, const std::string& owner,
                  Place place) const {
    for (const RecipeValues* level : levels) {
      const auto found = level->find(parameter.name);
      if (found == level->end()) continue;
      const bool pick = parameter.kind == MergeParameter::Kind::kFlag;
      if (const auto value = found->second.at(tensor, position, pick)) return *value;
    }
    if (!std::isnan(parameter.fallback)) return parameter.fallback;
    refuse(ErrorKind::kUsage, place,
           fmt::format("{} needs the parameter '{}' {} for tensor '{}', found none",
                       plan_->method->name, parameter.name, owner, printable(tensor)),
           fmt::format("{}: {}", parameter.name, parameter.help));
  }

  std::vector<double> values_of(bool per_model, const std::vector<const RecipeValues*>& levels,
                                std::string_view tensor, double position, const std::string& owner,
                                Place place) const {
    std::vector<double> out;
    for (const MergeParameter& parameter : plan_->method->parameters) {
      out.push_back(parameter.per_model == per_model
                        ? value_of(parameter, levels, tensor, position, owner, place)
                        : 0.0);
    }
    return out;
  }

  const InputTensor& need(const MergeInput& model, const std::string& name,
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

  void check_shape(const PlannedTensor& out, const MergeInput& model,
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

  PlannedSource source(const RecipeModel& model, const std::string& name, PlannedTensor& out,
                       const Part& part) {
    const MergeInput& from = input(model);
    PlannedSource planned{
        index_.find(model.text)->second, &need(from, name, out, part), {}, {}, {}};
    if (tokens_ && is_embedding(from, *planned.tensor)) take_rows(planned, out, part);
    if (!out.base && out.models.empty()) out.shape = planned.shape();
    check_shape(out, from, planned.shape(), part);
    return planned;
  }

  /// Rows by token instead of by number.
  void take_rows(PlannedSource& planned, const PlannedTensor& out, const Part& part) {
    planned.rows = tokens_->maps[planned.input];
    planned.donors.resize(plan_->inputs.size());
    for (const RowMap::Row& row : planned.rows->sources) {
      const InputTensor*& donor = planned.donors[row.input];
      if (donor == nullptr) {
        donor = row.input == planned.input
                    ? planned.tensor
                    : &need(*plan_->inputs[row.input], planned.tensor->name, out, part);
      }
    }
  }

  static DType promoted(DType a, DType b) {
    if (a == b) return a;
    const auto is = [&](DType d) { return a == d || b == d; };
    if (is(DType::kF64)) return DType::kF64;
    return DType::kF32;
  }

  void set_dtype(PlannedTensor& out) const {
    const auto stored = [](const PlannedSource& s) {
      const DType d = s.tensor->dtype;
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
    if (!recipe_.dtype.empty()) out.dtype = parse_dtype(recipe_.dtype);
    if (!recipe_.out_dtype.empty()) out.dtype = parse_dtype(recipe_.out_dtype);
    if (plan_->options.dtype) out.dtype = *plan_->options.dtype;
  }

  void add_tensor(const Part& part, const std::string& name, double position,
                  const NameIn& name_in) {
    const Method& method = *plan_->method;
    PlannedTensor out;
    out.name = name;
    const bool uses_base = method.base != BaseUse::kNone && part.base != nullptr;
    const RecipeSource* base_source = nullptr;
    for (const RecipeSource* s : part.sources) {
      if (uses_base && s->model.text == part.base->text) base_source = s;
    }
    if (uses_base)
      out.base = source(*part.base, name_in(base_source, input(*part.base)), out, part);
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
    plan_->tensors.push_back(std::move(out));
  }

  /// Number of models and presence of a base, against what the method takes.
  void check_part(const Part& part) const {
    const Method& method = *plan_->method;
    if (method.base == BaseUse::kRequired && part.base == nullptr) {
      refuse(ErrorKind::kUsage, part.place,
             fmt::format("{} needs a base_model, found none", method.name),
             "say base_model: MODEL");
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
    refuse(ErrorKind::kUsage, part.place,
           fmt::format("{} takes {} model{}{}, found {}", method.name, count,
                       count.ends_with(" 1") ? "" : "s", uses_base ? " besides the base" : "",
                       models));
  }

  // --- whole models ---

  void plan_models(const std::vector<RecipeSource>& models, std::vector<const RecipeValues*> outer,
                   const Belongs& belongs) {
    Part part;
    for (const RecipeSource& s : models) part.sources.push_back(&s);
    part.base = recipe_.base ? &*recipe_.base : nullptr;
    part.outer = std::move(outer);
    part.outer.push_back(&recipe_.parameters);
    part.place = recipe_.place;
    check_part(part);
    const MergeInput& first = input(recipe_.base ? *recipe_.base : models[0].model);
    std::set<std::string> names;
    for (const InputTensor& tensor : first.tensors()) {
      if (belongs(tensor.name)) names.insert(tensor.name);
    }
    for (const RecipeSource& s : models) check_extra(input(s.model), first, names, belongs, part);
    for (const std::string& name : names) {
      if (name.ends_with("rotary_emb.inv_freq") && !everywhere(name, models)) {
        warn(part.place,
             fmt::format("'{}' is left out: not every model has it, and it is computed anyway",
                         printable(name)));
        continue;
      }
      add_tensor(part, name, families(first).position(name),
                 [&](const RecipeSource*, const MergeInput&) { return name; });
    }
  }

  bool everywhere(const std::string& name, const std::vector<RecipeSource>& models) const {
    return std::ranges::all_of(
        models, [&](const RecipeSource& s) { return input(s.model).find(name) != nullptr; });
  }

  /// Tensors that the reference lacks: an untied head is taken up, anything else does not fit.
  void check_extra(const MergeInput& other, const MergeInput& first, std::set<std::string>& names,
                   const Belongs& belongs, const Part& part) {
    for (const InputTensor& tensor : other.tensors()) {
      if (!belongs(tensor.name) || names.contains(tensor.name) ||
          tensor.name.ends_with("rotary_emb.inv_freq"))
        continue;
      if (find_or_tied(first, tensor.name) != nullptr) {
        names.insert(tensor.name);
        continue;
      }
      refuse(ErrorKind::kMismatch, part.place,
             fmt::format("tensor '{}' stands in '{}' and not in '{}'", printable(tensor.name),
                         printable(other.text(), 200), printable(first.text(), 200)),
             "the models must have the same tensors; compare them with `lancet diff`");
    }
  }

  // --- stacks of layers ---

  static bool is_before_layers(std::string_view name) {
    constexpr std::array<std::string_view, 6> kWords{"embed",   "wte",  "wpe",
                                                     "tok_emb", "embd", "word_emb"};
    return std::ranges::any_of(kWords,
                               [&](std::string_view word) { return name.find(word) != name.npos; });
  }

  Part part_of(const RecipeSlice& slice, const std::vector<const RecipeValues*>& outer) const {
    Part part;
    for (const RecipeSource& s : slice.sources) part.sources.push_back(&s);
    part.base = slice.base ? &*slice.base : recipe_.base ? &*recipe_.base : nullptr;
    part.outer.push_back(&slice.parameters);
    part.outer.insert(part.outer.end(), outer.begin(), outer.end());
    part.outer.push_back(&recipe_.parameters);
    part.place = slice.place;
    check_part(part);
    for (const RecipeSource& s : slice.sources) check_range(s);
    return part;
  }

  void check_range(const RecipeSource& s) const {
    const MergeInput& model = input(s.model);
    const LayerFamilies families(model.tensors());
    const std::int64_t layers = families.count(families.main());
    if (s.layers->second <= layers) return;
    refuse(ErrorKind::kUsage, s.place,
           fmt::format(
               "layer_range [{}, {}): expected an end of at most {}, the number of layers of '{}'",
               s.layers->first, s.layers->second, layers, printable(model.text(), 200)));
  }

  void plan_slices(const std::vector<RecipeSlice>& slices,
                   const std::vector<const RecipeValues*>& outer, const Belongs& belongs) {
    stacked_.emplace();
    std::int64_t next = 0;
    for (const RecipeSlice& slice : slices) {
      const Part part = part_of(slice, outer);
      const std::int64_t length = slice.sources[0].layers->second - slice.sources[0].layers->first;
      for (std::int64_t i = 0; i < length; ++i, ++next) add_layer(part, i, length, next, belongs);
    }
    add_outside(part_of(slices.front(), outer), true, belongs);
    add_outside(part_of(slices.back(), outer), false, belongs);
  }

  void add_layer(const Part& part, std::int64_t i, std::int64_t length, std::int64_t next,
                 const Belongs& belongs) {
    const RecipeSource& first = *part.sources[0];
    const MergeInput& model = input(first.model);
    const std::string family = families(model).main();
    const double position =
        length == 1 ? 1.0 : static_cast<double>(i) / static_cast<double>(length - 1);
    const std::string prefix = fmt::format("{}{}.", family, first.layers->first + i);
    stacked_->push_back(first.layers->first + i);
    for (const InputTensor& tensor : model.tensors()) {
      if (!tensor.name.starts_with(prefix) || !belongs(tensor.name)) continue;
      const std::string rest = tensor.name.substr(prefix.size());
      add_tensor(part, fmt::format("{}{}.{}", family, next, rest), position,
                 [&](const RecipeSource* s, const MergeInput& in) {
                   const std::int64_t begin = s == nullptr ? first.layers->first : s->layers->first;
                   return fmt::format("{}{}.{}", families(in).main(), begin + i, rest);
                 });
    }
  }

  /// Tensors outside the layers: what comes before them is the first slice's, what comes after the
  /// last one's.
  void add_outside(const Part& part, bool before, const Belongs& belongs) {
    const MergeInput& model = input(part.sources[0]->model);
    const std::string family = families(model).main();
    for (const InputTensor& tensor : model.tensors()) {
      if (!belongs(tensor.name) || is_before_layers(tensor.name) != before) continue;
      const auto place = layer_of(tensor.name);
      if (place && place->family == family) continue;
      if (place) {
        refuse(ErrorKind::kUsage, part.place,
               fmt::format("expected one stack of layers ('{}'), found another ('{}') in '{}'",
                           printable(family), printable(std::string(place->family)),
                           printable(model.text(), 200)),
               "say which part the slices are of: modules: {text_decoder: {slices: ...}}");
      }
      add_tensor(part, tensor.name, 0,
                 [&](const RecipeSource*, const MergeInput&) { return tensor.name; });
    }
  }

  // --- modules ---

  void plan_modules() {
    std::set<std::string> planned;
    for (const RecipeModule& module : recipe_.modules) {
      const std::size_t before = plan_->tensors.size();
      const Belongs belongs = [&](std::string_view name) { return in_module(module.name, name); };
      if (module.slices.empty()) {
        plan_models(module.models, {&module.parameters}, belongs);
      } else {
        plan_slices(module.slices, {&module.parameters}, belongs);
      }
      if (plan_->tensors.size() == before) {
        refuse(ErrorKind::kUsage, module.place,
               fmt::format("module '{}' has no tensor in these models", printable(module.name)),
               "names: default, text_decoder, vision_tower, multi_modal_projector, audio_tower, or "
               "a prefix of tensor names");
      }
      for (std::size_t i = before; i < plan_->tensors.size(); ++i) {
        if (!planned.insert(plan_->tensors[i].name).second) {
          refuse(ErrorKind::kUsage, module.place,
                 fmt::format("tensor '{}' belongs to two modules of the recipe",
                             printable(plan_->tensors[i].name)));
        }
      }
    }
    copy_rest();
  }

  void copy_rest() {
    const RecipeModel& from = reference();
    std::size_t copied = 0;
    for (const InputTensor& tensor : input(from).tensors()) {
      const bool covered = std::ranges::any_of(recipe_.modules, [&](const RecipeModule& module) {
        return in_module(module.name, tensor.name);
      });
      if (covered) continue;
      PlannedTensor out;
      out.name = tensor.name;
      out.shape = tensor.shape;
      out.models.push_back({index_.find(from.text)->second, &tensor, {}, {}, {}});
      set_dtype(out);
      out.dtype = tensor.dtype;
      out.copied = true;
      plan_->tensors.push_back(std::move(out));
      ++copied;
    }
    if (copied > 0) {
      warn({},
           fmt::format("{} tensors of modules that the recipe does not name are copied from '{}'",
                       copied, printable(from.text, 200)));
    }
  }

  // --- the whole ---

  void finish_config() {
    const MergeInput& first = input(reference());
    plan_->side_files = first.side_files();
    plan_->side_files.erase("config.json");
    if (tokens_) {
      for (const std::string& name : tokenizer_file_names()) plan_->side_files.erase(name);
      plan_->side_files.insert(tokens_->side_files.begin(), tokens_->side_files.end());
    }
    if (!first.config().is_object()) return;
    const LayerFamilies& layers = families(first);
    plan_->config =
        merged_config(first.config(), stacked_, layers.count(layers.main()), plan_->tensors);
    if (tokens_) plan_->config["vocab_size"] = tokens_->rows;
  }
};

}  // namespace

void for_each_model(const Recipe& recipe, const std::function<void(const RecipeModel&)>& visit) {
  const auto each_source = [&](const std::vector<RecipeSource>& sources) {
    for (const RecipeSource& s : sources) visit(s.model);
  };
  const auto each_slice = [&](const std::vector<RecipeSlice>& slices) {
    for (const RecipeSlice& slice : slices) {
      if (slice.base) visit(*slice.base);
      each_source(slice.sources);
    }
  };
  if (recipe.base) visit(*recipe.base);
  each_source(recipe.models);
  each_slice(recipe.slices);
  for (const RecipeModule& module : recipe.modules) {
    each_source(module.models);
    each_slice(module.slices);
  }
  if (!recipe.tokenizer) return;
  if (recipe.tokenizer->model) visit(*recipe.tokenizer->model);
  for (const RecipeToken& token : recipe.tokenizer->tokens) {
    if (token.model) visit(*token.model);
  }
}

std::shared_ptr<const MergePlan> plan_document(const RecipeFile& file, const Recipe& recipe,
                                               const OpenedInputs& opened,
                                               const MergeOptions& options) {
  return Planner(file, recipe, opened, options).run();
}

}  // namespace lancet
