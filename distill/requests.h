#pragma once
// What the commands of the teacher's side hand to liblancet_factory (cli/factory.h).

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "model/requests.h"

namespace lancet {

/// `lancet synthesize`: a job file, or seeds and a teacher.
struct SynthesizeRequest {
  std::filesystem::path job;  ///< JOB.yml; empty when seeds and teacher are given
};

/// The student asked for many texts at a time; comes from the engine.
using ScoreTexts = std::function<std::vector<TextScore>(const std::vector<std::string>& texts)>;

/// `name` of distill/filters with its settings, key by key; a key of a list may come again.
struct FilterRequest {
  std::string name;
  std::vector<std::pair<std::string, std::string>> settings;
};

/// `lancet curate`: rows in, rows that passed out.
struct CurateRequest {
  std::vector<std::filesystem::path> inputs;  ///< JSON lines
  std::filesystem::path output;
  std::vector<FilterRequest> filters;  ///< in the order in which a row meets them
  std::filesystem::path report;        ///< HTML; empty = none
  ScoreTexts score;                    ///< empty without --student
  std::vector<std::string> teachers;   ///< models whose outputs the rows are
  std::vector<std::string> licences;   ///< declared for teachers that the table does not know
  std::string model_name;              ///< of the student to be; checked against the licences
  bool accept_terms_risk = false;
  bool strict = false;  ///< a bad row is an error
  bool plan = false, force = false;
  std::uint64_t seed = 0;
};

}  // namespace lancet
