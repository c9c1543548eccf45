#include "merge/planner.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/memory.h"
#include "core/text.h"
#include "formats/chat_templates.h"
#include "merge/chat_template.h"
#include "merge/layers.h"
#include "merge/tensor_planner.h"

namespace lancet {
namespace {

class Planner final : TensorPlanner {
 public:
  using TensorPlanner::TensorPlanner;

  std::shared_ptr<const MergePlan> run() {
    plan_->warnings = file_.warnings;
    std::set<std::string> texts;
    for_each_model(recipe_, [&](const RecipeModel& model) {
      if (!texts.insert(model.text).second) return;
      index_.emplace(model.text, plan_->inputs.size());
      plan_->inputs.push_back(opened_.at(model.text));
    });
    check_architectures();
    if (recipe_.tokenizer) plan_vocabulary();
    if (!recipe_.modules.empty()) {
      plan_modules();
    } else if (!recipe_.slices.empty()) {
      plan_slices(recipe_.slices, {});
    } else {
      plan_models(recipe_.models, {});
    }
    std::ranges::sort(plan_->tensors, {}, &PlannedTensor::name);
    scale_layers();
    warn_of_stacked_matrices();
    if (!tokens_) warn_of_rows();
    warn_idle_values(recipe_, plan_->tensors,
                     [&](RecipePlace place, const std::string& message) { warn(place, message); });
    finish_config();
    return plan_;
  }

 private:
  using Belongs = std::function<bool(std::string_view tensor)>;

  static bool everything(std::string_view) { return true; }

  Belongs belongs_ = everything;                         ///< to the module at hand
  std::map<const MergeInput*, LayerFamilies> families_;  ///< of the tensors that do
  std::vector<LayerStack> stacks_;

  /// What follows is about the tensors of one module.
  void enter(Belongs belongs) {
    belongs_ = std::move(belongs);
    families_.clear();
  }

  const LayerFamilies& families(const MergeInput& model) {
    const auto known = families_.find(&model);
    if (known != families_.end()) return known->second;
    std::vector<InputTensor> own;
    std::ranges::copy_if(model.tensors(), std::back_inserter(own),
                         [&](const InputTensor& tensor) { return belongs_(tensor.name); });
    return families_.emplace(&model, own).first->second;
  }

  TokenInputs token_inputs() const {
    TokenInputs out{index_.find(reference().text)->second, recipe_.base.has_value(), {}};
    Recipe merged = recipe_;
    merged.tokenizer.reset();
    for_each_model(merged, [&](const RecipeModel& model) {
      out.merged.push_back(index_.find(model.text)->second);
    });
    return out;
  }

  // --- whole models ---

  void plan_models(const std::vector<RecipeSource>& models,
                   std::vector<const RecipeValues*> outer) {
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
      if (belongs_(tensor.name)) names.insert(tensor.name);
    }
    for (const RecipeSource& s : models) check_extra(input(s.model), first, names, part);
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
                   const Part& part) {
    for (const InputTensor& tensor : other.tensors()) {
      if (!belongs_(tensor.name) || names.contains(tensor.name) ||
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

  Part part_of(const RecipeSlice& slice, const std::vector<const RecipeValues*>& outer) {
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

  void check_range(const RecipeSource& s) {
    const MergeInput& model = input(s.model);
    const std::int64_t layers = families(model).count(families(model).main());
    if (s.layers->second <= layers) return;
    refuse(ErrorKind::kUsage, s.place,
           fmt::format(
               "layer_range [{}, {}): expected an end of at most {}, the number of layers of '{}'",
               s.layers->first, s.layers->second, layers, printable(model.text(), 200)));
  }

  void plan_slices(const std::vector<RecipeSlice>& slices,
                   const std::vector<const RecipeValues*>& outer) {
    const LayerFamilies& own = families(input(reference()));
    stacks_.push_back({own.main(), own.count(own.main()), {}});
    std::int64_t next = 0;
    for (const RecipeSlice& slice : slices) {
      const Part part = part_of(slice, outer);
      const std::int64_t length = slice.sources[0].layers->second - slice.sources[0].layers->first;
      for (std::int64_t i = 0; i < length; ++i, ++next) add_layer(part, i, length, next);
    }
    add_outside(part_of(slices.front(), outer), true);
    add_outside(part_of(slices.back(), outer), false);
  }

  void add_layer(const Part& part, std::int64_t i, std::int64_t length, std::int64_t next) {
    const RecipeSource& first = *part.sources[0];
    const MergeInput& model = input(first.model);
    const std::string family = families(model).main();
    const double position =
        length == 1 ? 1.0 : static_cast<double>(i) / static_cast<double>(length - 1);
    const std::string prefix = fmt::format("{}{}.", family, first.layers->first + i);
    stacks_.back().layers.push_back(first.layers->first + i);
    for (const InputTensor& tensor : model.tensors()) {
      if (!tensor.name.starts_with(prefix) || !belongs_(tensor.name)) continue;
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
  void add_outside(const Part& part, bool before) {
    const MergeInput& model = input(part.sources[0]->model);
    const std::string family = families(model).main();
    for (const InputTensor& tensor : model.tensors()) {
      if (!belongs_(tensor.name) || is_before_layers(tensor.name) != before) continue;
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
      enter([&](std::string_view name) { return in_module(module.name, name); });
      if (module.slices.empty()) {
        plan_models(module.models, {&module.parameters});
      } else {
        plan_slices(module.slices, {&module.parameters});
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

  void set_chat_template() {
    std::string text;
    try {
      text = choose_chat_template(recipe_.chat_template, plan_->inputs);
    } catch (const Error& error) {
      refuse(ErrorKind::kUsage, recipe_.chat_template_place, "chat_template: " + error.message(),
             error.hint());
    }
    if (text.empty() && recipe_.chat_template == "auto") {
      warn(recipe_.chat_template_place, "chat_template: no model has one: the result has none");
      return;
    }
    if (text.empty()) {
      refuse(ErrorKind::kUsage, recipe_.chat_template_place,
             fmt::format("chat_template: expected auto, Jinja text or one of {}, found '{}'",
                         fmt::join(known_chat_templates(), ", "), printable(recipe_.chat_template)),
             did_you_mean(recipe_.chat_template, known_chat_templates()));
    }
    std::erase_if(plan_->side_files, [](const auto& file) { return template_name(file.first); });
    plan_->side_files["chat_template.jinja"] = text;
    const auto found = plan_->side_files.find("tokenizer_config.json");
    if (found == plan_->side_files.end()) return;
    Json config = parse_json(found->second, "tokenizer_config.json");
    if (config.erase("chat_template") > 0) found->second = dump_json(config, 2) + "\n";
  }

  void plan_vocabulary() {
    const std::uint64_t before = resident_memory(), peak = peak_memory();
    tokens_ =
        plan_tokens(*recipe_.tokenizer, plan_->inputs, token_inputs(), plan_->options.semantics);
    for (const std::string& warning : tokens_->warnings) warn({}, warning);
    const std::uint64_t most = peak_memory() > peak ? peak_memory() : resident_memory();
    plan_->vocabulary_memory = most > before ? most - before : 0;
  }

  void finish_config() {
    const MergeInput& first = input(reference());
    plan_->side_files = first.side_files();
    plan_->side_files.erase("config.json");
    if (tokens_) {
      std::erase_if(plan_->side_files, [](const auto& f) { return is_tokenizer_file(f.first); });
      plan_->side_files.insert(tokens_->side_files.begin(), tokens_->side_files.end());
    }
    if (!recipe_.chat_template.empty()) set_chat_template();
    if (!first.config().is_object()) return;
    plan_->config = merged_config(first.config(), stacks_, plan_->tensors);
    if (!tokens_) return;
    plan_->config.at(vocabulary_place(plan_->config))["vocab_size"] = tokens_->rows;
    if (plan_->config.contains("vocab_size")) plan_->config["vocab_size"] = tokens_->rows;
    if (tokens_->ids) set_ids(*tokens_->ids);
  }

  void set_ids(const TokenIds& ids) {
    constexpr const char* kGeneration = "generation_config.json";
    Json generation = side_json(plan_->side_files, kGeneration, reference().text);
    std::vector<std::string> warnings;
    set_token_ids(plan_->config, generation, ids, warnings);
    for (const std::string& warning : warnings) warn({}, warning);
    if (generation.is_object()) plan_->side_files[kGeneration] = dump_json(generation, 2) + "\n";
  }
};

}  // namespace

std::shared_ptr<const MergePlan> plan_document(const RecipeFile& file, const Recipe& recipe,
                                               const OpenedInputs& opened,
                                               const MergeOptions& options) {
  return Planner(file, recipe, opened, options).run();
}

}  // namespace lancet
