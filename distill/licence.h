#pragma once
// What a teacher's licence asks of a model trained on its outputs. A table by model name, from the
// licence texts (docs/curation.md names them); not legal advice. The union of the duties of all
// teachers travels with the data in lancet.json.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace lancet {

struct Licence {
  enum class Outputs {
    kFree,       ///< outputs may train other models
    kOwnFamily,  ///< only models of the same family
    kForbidden   ///< terms forbid models that compete
  };
  std::string_view id;  ///< as Hugging Face cards write it, where they do
  std::string_view title;
  Outputs outputs = Outputs::kFree;
  std::string_view name_prefix = {};  ///< a distributed model's name must begin with it
  std::string_view built_with = {};   ///< to be displayed prominently
  std::string_view notice = {};       ///< for the NOTICE file
  bool pass_on = false;               ///< use restrictions bind models trained on outputs
  bool non_commercial = false;
  std::string_view source;  ///< where the text stands
};

[[nodiscard]] std::span<const Licence> licence_table();
/// By id; null when unknown.
[[nodiscard]] const Licence* find_licence(std::string_view id) noexcept;
/// Of a model by its name ("meta-llama/Llama-3.1-405B-Instruct"): its own, and that of the model it
/// was derived from where the name tells. Empty when the table does not know it.
[[nodiscard]] std::vector<const Licence*> licences_of(std::string_view model);

/// The union of what several teachers ask.
class LicenceDuties {
 public:
  /// Adds a teacher by the table.
  void add_teacher(const std::string& model);
  /// Adds a licence that a person declares: an id of the table, or any other text (no duties
  /// known).
  void declare(const std::string& id);
  /// Adds what `lancet.json` of earlier data says under "licence". Error(kInput) when damaged.
  void add_json(const Json& json, std::string_view where);

  /// Adds what stands in ROWS.lancet.json beside data; nothing when there is none.
  void add_data(const fs::path& rows);

  [[nodiscard]] bool empty() const noexcept { return teachers_.empty() && ids_.empty(); }
  /// Teachers that neither the table nor a declaration covers.
  [[nodiscard]] std::vector<std::string> unknown_teachers() const;
  /// Error(kUsage) when the terms forbid the use and the risk is not accepted, or when `model_name`
  /// (if not empty) lacks a prefix that the licences require.
  void check(const std::string& model_name, bool accept_terms_risk);
  /// For lancet.json: teachers, licences, duties, accepted risks.
  [[nodiscard]] Json json() const;
  /// NOTICE text; empty when none is asked for.
  [[nodiscard]] std::string notice() const;
  /// Section of a model card.
  [[nodiscard]] std::string card() const;

 private:
  std::vector<std::string> teachers_, ids_, accepted_;

  void add_id(const std::string& id);
  [[nodiscard]] std::vector<const Licence*> known() const;
};

}  // namespace lancet
