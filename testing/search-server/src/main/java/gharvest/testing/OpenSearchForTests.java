package gharvest.testing;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.codelibs.opensearch.runner.OpenSearchRunner;
import org.opensearch.common.settings.Settings;
import org.opensearch.http.HttpServerTransport;

/**
 * A real OpenSearch in this process, until it is killed.
 *
 * <p>Arguments: a folder, then settings as {@code name=value}. Once it answers, one line goes to standard output:
 * {@code LISTENING port}.
 */
public final class OpenSearchForTests {
  private OpenSearchForTests() {}

  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(arguments[0]).toAbsolutePath();
    Map<String, String> wanted = settings(folder);
    for (int at = 1; at < arguments.length; at++) {
      int equals = arguments[at].indexOf('=');
      wanted.put(arguments[at].substring(0, equals), arguments[at].substring(equals + 1));
    }
    OpenSearchRunner runner = new OpenSearchRunner();
    runner.setMaxHttpPort(-1); // the runner would look among its own few ports
    runner.onBuild((node, builder) -> apply(wanted, builder));
    runner.build(
        OpenSearchRunner.newConfigs()
            .clusterName("gharvest-tests")
            .numOfNode(1)
            .basePath(folder.resolve("node").toString())
            .disableESLogger());
    runner.ensureYellow();
    HttpServerTransport http = runner.node().injector().getInstance(HttpServerTransport.class);
    System.out.println("LISTENING " + http.boundAddress().publishAddress().getPort());
    System.out.flush();
    Thread.currentThread().join();
  }

  /** Loopback on a free port, one node, and no opinion about a full disk or a small heap. */
  private static Map<String, String> settings(Path folder) {
    Map<String, String> settings = new LinkedHashMap<>();
    settings.put("discovery.type", "single-node");
    settings.put("network.host", "127.0.0.1");
    settings.put("http.port", "0");
    settings.put("transport.port", "0");
    settings.put("path.repo", folder.resolve("snapshots").toString());
    settings.put("cluster.routing.allocation.disk.threshold_enabled", "false");
    settings.put("indices.breaker.total.use_real_memory", "false");
    return settings;
  }

  private static void apply(Map<String, String> wanted, Settings.Builder builder) {
    builder.putList("node.roles", "cluster_manager", "data", "ingest");
    wanted.forEach(builder::put);
  }
}
