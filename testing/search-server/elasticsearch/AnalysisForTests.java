package gharvest.testing;

import java.util.HashMap;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.core.WhitespaceTokenizer;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.en.PorterStemFilter;
import org.apache.lucene.analysis.miscellaneous.ASCIIFoldingFilter;
import org.apache.lucene.analysis.miscellaneous.LengthFilter;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.miscellaneous.WordDelimiterGraphFilter;
import org.apache.lucene.analysis.miscellaneous.WordDelimiterIterator;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.apache.lucene.analysis.pattern.PatternReplaceFilter;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

/**
 * The Elasticsearch of Maven Central comes without its usual analysis module. This gives it the parts that our mappings
 * name, and those that its own index of API keys names ({@code uax_url_email}, {@code pattern_capture}, {@code
 * unique}), each over the Lucene class that the module uses. OpenSearch, which has the whole module, is the judge of
 * tokens.
 */
public final class AnalysisForTests extends Plugin implements AnalysisPlugin {
  /** What a filter does with its settings. */
  private interface Make {
    TokenStream over(TokenStream tokens, Settings settings);
  }

  @Override
  public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
    Map<String, AnalysisProvider<TokenizerFactory>> tokenizers = new HashMap<>();
    tokenizers.put("whitespace", (index, node, name, settings) -> TokenizerFactory.newFactory(name, WhitespaceTokenizer::new));
    tokenizers.put("uax_url_email", (index, node, name, settings) -> TokenizerFactory.newFactory(name, UAX29URLEmailTokenizer::new));
    return tokenizers;
  }

  @Override
  public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
    Map<String, Make> filters = new HashMap<>();
    filters.put("asciifolding", (tokens, settings) -> new ASCIIFoldingFilter(tokens));
    filters.put("length", AnalysisForTests::length);
    filters.put("pattern_capture", AnalysisForTests::captures);
    filters.put("pattern_replace", AnalysisForTests::replaced);
    filters.put("stemmer", AnalysisForTests::stemmed);
    filters.put("unique", (tokens, settings) -> new RemoveDuplicatesTokenFilter(tokens));
    filters.put("word_delimiter_graph", AnalysisForTests::parts);
    Map<String, AnalysisProvider<TokenFilterFactory>> factories = new HashMap<>();
    filters.forEach((filter, make) -> factories.put(filter, (index, node, name, settings) -> new TokenFilterFactory() {
      @Override
      public String name() {
        return name;
      }

      @Override
      public TokenStream create(TokenStream tokens) {
        return make.over(tokens, settings);
      }
    }));
    return factories;
  }

  private static TokenStream length(TokenStream tokens, Settings settings) {
    return new LengthFilter(tokens, settings.getAsInt("min", 0), settings.getAsInt("max", Integer.MAX_VALUE));
  }

  private static TokenStream captures(TokenStream tokens, Settings settings) {
    Pattern[] patterns = settings.getAsList("patterns").stream().map(Pattern::compile).toArray(Pattern[]::new);
    return new PatternCaptureGroupTokenFilter(tokens, settings.getAsBoolean("preserve_original", true), patterns);
  }

  private static TokenStream replaced(TokenStream tokens, Settings settings) {
    return new PatternReplaceFilter(tokens, Pattern.compile(settings.get("pattern")), settings.get("replacement", ""), true);
  }

  /** The module's {@code english} is Porter's; whoever asks for another language would be given wrong stems. */
  private static TokenStream stemmed(TokenStream tokens, Settings settings) {
    if (!"english".equals(settings.get("language"))) {
      throw new IllegalArgumentException("only the stemmer of English is here");
    }
    return new PorterStemFilter(tokens);
  }

  private static TokenStream parts(TokenStream tokens, Settings settings) {
    int flags = flag(settings, "generate_word_parts", true, WordDelimiterGraphFilter.GENERATE_WORD_PARTS)
        | flag(settings, "generate_number_parts", true, WordDelimiterGraphFilter.GENERATE_NUMBER_PARTS)
        | flag(settings, "split_on_case_change", true, WordDelimiterGraphFilter.SPLIT_ON_CASE_CHANGE)
        | flag(settings, "split_on_numerics", true, WordDelimiterGraphFilter.SPLIT_ON_NUMERICS)
        | flag(settings, "stem_english_possessive", true, WordDelimiterGraphFilter.STEM_ENGLISH_POSSESSIVE)
        | flag(settings, "preserve_original", false, WordDelimiterGraphFilter.PRESERVE_ORIGINAL);
    return new WordDelimiterGraphFilter(tokens, true, WordDelimiterIterator.DEFAULT_WORD_DELIM_TABLE, flags, null);
  }

  private static int flag(Settings settings, String name, boolean otherwise, int flag) {
    return settings.getAsBoolean(name, otherwise) ? flag : 0;
  }
}
