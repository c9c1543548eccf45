#pragma once
// What the command line asks of surgery. No LibTorch here.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "model/requests.h"

namespace lancet {

/// One fact to rewrite, and what it is judged by.
struct Fact {
  std::string id;
  std::string subject;
  std::string prompt;                    ///< one "{}" for the subject
  std::string target;                    ///< without the leading blank
  std::optional<std::string> truth;      ///< "true": the answer before
  std::vector<std::string> paraphrases;  ///< whole prompts
  struct Neighbor {
    std::string prompt;
    std::optional<std::string> answer;  ///< nothing = what the unedited model says
  };
  std::vector<Neighbor> neighbors;
  std::vector<std::string> generation;  ///< prompts for free generation
  std::vector<std::string> leak;  ///< same-relation prompts of other subjects; empty = made up
  std::vector<std::string>
      unrelated;     ///< prompts of other relations and subjects that must not change
  std::string lang;  ///< language of the prompts, "" = unsaid
  std::string relation, target_id;  ///< Wikidata's ids ("P103", "Q150"), for reference texts
  /// A question whose answer follows from the edit (portability, several hops) or stays (locality).
  struct Check {
    std::string group;  ///< "portability.Reasoning", "multi_hop", "locality.Forgetfulness", ...
    std::string prompt;
    std::vector<std::vector<std::string>> answers;  ///< each has to be said, in one of its forms
    bool keeps = false;  ///< right is what the base model says; `answers` only says where to look
    std::string set;     ///< checks of one set pass together; "" = a set of its own
    bool all = false;    ///< every check of the set has to pass, not any of them
    std::vector<Check> conditions;  ///< counts only where the unedited model answers these rightly
  };
  std::vector<Check> checks;
};

struct EditRequest {
  fs::path model;
  std::vector<Fact> facts;
  fs::path requests;                ///< the file of the facts; empty = they come from elsewhere
  std::vector<std::size_t> lines;   ///< 1-based, where each of them begins in it
  Json left_out = Json::array();    ///< left_out_json of the others
  std::string method;               ///< empty = rome for one fact, memit for several
  std::int64_t batch = 0;           ///< facts written together; 0 = all
  std::string layers = "auto";      ///< auto, "5", "4-8"
  std::string covariance = "auto";  ///< auto, none, or a file
  std::map<std::string, std::string> method_options;
  std::optional<fs::path> out, delta, lora, report, dump;
  bool guards = true;
  double max_leak = 0.1;
  double max_perplexity_ratio = 1.1;
  double stop_at = 0;  ///< perplexity ratio that ends batches and takes the last one back; 0 = none
  bool plan = false;
  bool force = false;
  bool restart = false;  ///< throw away the batches that an interrupted edit left
  Json command;          ///< the resolved command, for the manifest
};

struct UndoRequest {
  fs::path model;                ///< EDITED
  std::vector<std::string> ids;  ///< edits to take out
  std::optional<fs::path> out;   ///< nothing = in place
  bool plan = false;
  bool force = false;
  Json command;  ///< the resolved command, for the manifest
};

struct ProbeRequest {
  fs::path model;
  std::optional<fs::path> base;  ///< the unedited model, for NA and the perplexity ratio
  std::vector<Fact> facts;
  std::int64_t perplexity_tokens = 0;       ///< of the shipped text, from its beginning; 0 = all
  std::optional<fs::path> reference_texts;  ///< folder of them, for RS
  std::optional<fs::path> report;
};

}  // namespace lancet
